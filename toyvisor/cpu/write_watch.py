"""Noticing that the guest stores to some bytes of RAM.

While one is open, every store of the guest is slower: so only for a debugger.
"""

from __future__ import annotations

from collections.abc import Iterable
from ctypes import c_void_p

from toyvisor.cpu.unicorn_abi import (
    UC_HOOK_MEM_WRITE,
    MemoryHook,
    add_hook,
    forget_translations,
    remove_hook,
)


class WriteWatch:
    """`touched` is True once the guest has stored to one of `spans`, (first GPA, length).

    To be opened and closed while the guest is out.
    """

    __slots__ = ("_callback", "_engine", "_hooks", "touched")

    def __init__(self, engine: c_void_p, spans: Iterable[tuple[int, int]]) -> None:
        self._engine = engine
        self.touched = False
        self._callback = MemoryHook(self._store)
        # A store that begins up to 63 bytes before may reach into it.
        self._hooks = [
            add_hook(engine, UC_HOOK_MEM_WRITE, self._callback, max(0, gpa - 63), gpa + length - 1)
            for gpa, length in spans
        ]
        forget_translations(engine)

    def _store(self, _engine: int, _access: int, _gpa: int, _size: int, _value: int) -> None:
        self.touched = True

    def close(self) -> None:
        """Notice no more."""
        for hook in self._hooks:
            remove_hook(self._engine, hook)
        forget_translations(self._engine)
