"""A bench for one device: no guest, no KVM, only its registers and what they lead to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from toyvisor.memory import GuestMemory
from toyvisor.qemu.device import DeviceContext, GuestErrorLog
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger


class Bench:
    def __init__(self) -> None:
        self.trace = Trace(enabled=True)
        self.ledger = Ledger(self.trace)
        self.errors = GuestErrorLog(self.trace)

    def context(self, name: str) -> DeviceContext:
        return DeviceContext(name, memory=GuestMemory(), ledger=self.ledger, errors=self.errors)

    @contextmanager
    def watched(self) -> Iterator[list[tuple]]:
        """The events of the block: (name, *fields) each, there when the block is over."""
        before = len(list(self.trace))
        seen: list[tuple] = []
        yield seen
        for event in list(self.trace)[before:]:
            seen.append((event.kind.name, *event.fields.values()))

    @contextmanager
    def breaks(self, *rules: str) -> Iterator[None]:
        """The guest breaks exactly these rules in the block."""
        before = self.errors.count
        yield
        assert [error.rule for _, error in self.errors.entries[before:]] == list(rules)
        assert all(error.hint for _, error in self.errors.entries[before:])

    @contextmanager
    def costs(self, *, copies: int = 0, copied: int = 0, **syscalls: int) -> Iterator[None]:
        """Copies qemu->host, their bytes and the system calls of the block, as deltas."""
        hop = self.ledger.qemu_to_host
        total, count, size = self.ledger.copies, hop.count, hop.bytes
        calls = dict(self.ledger.syscalls)
        yield
        assert (hop.count - count, hop.bytes - size) == (copies, copied)
        assert self.ledger.copies - total == copies, "a copy on another hop"
        made = {k: n - calls.get(k, 0) for k, n in self.ledger.syscalls.items()}
        assert {k: n for k, n in made.items() if n} == syscalls


@pytest.fixture
def bench() -> Bench:
    return Bench()
