"""Unicorn's C interface, as far as the world switch needs it.

The functions are called through `ctypes` directly, not through the `unicorn` package's
classes: one exit costs about a quarter of what it costs there, and start-up is shorter
since the package's Python half is never imported. The numbers are those of Unicorn's
`unicorn.h` and `x86.h`; a test compares each with the package's.

`PyDLL` and `PYFUNCTYPE` keep the GIL: callbacks switch greenlets, which must not happen
between a release and its re-acquisition. Slices of guest time keep the holding short.
"""

from __future__ import annotations

import ctypes
import importlib.util
from ctypes import c_int, c_size_t, c_uint, c_uint32, c_uint64, c_void_p
from enum import IntEnum
from pathlib import Path

from toyvisor.errors import MachineError

UC_ARCH_X86 = 4
UC_MODE = {16: 1 << 2, 32: 1 << 2, 64: 1 << 3}  # by the width of the first code
UC_PROT_ALL = 7

UC_HOOK_INTR = 1 << 0
UC_HOOK_INSN = 1 << 1
UC_HOOK_BLOCK = 1 << 3
UC_HOOK_MEM_READ = 1 << 10
UC_HOOK_MEM_WRITE = 1 << 11
UC_HOOK_INSN_INVALID = 1 << 14
UC_HOOK_EDGE_GENERATED = 1 << 15

UC_MEM_WRITE = 17  # uc_mem_type

# uc_control_type, and the direction bits of uc_ctl's argument (UC_CTL_IO_*)
_UC_CTL_UC_USE_EXITS = 4 | (1 << 26) | (1 << 30)
_UC_CTL_UC_EXITS = 6 | (2 << 26) | (1 << 30)
_UC_CTL_CPU_MODEL = 7 | (1 << 26) | (1 << 30)
_UC_CTL_TB_REQUEST_CACHE = 8 | (2 << 26) | (3 << 30)
_UC_CTL_TB_REMOVE_CACHE = 9 | (2 << 26) | (1 << 30)
_UC_CTL_TB_FLUSH = 10 | (1 << 30)
_UC_CTL_TLB_FLUSH = 11 | (1 << 30)


class Instruction(IntEnum):
    """Instructions that UC_HOOK_INSN can catch (uc_x86_insn)."""

    CPUID = 113
    IN = 218
    OUT = 500
    RDTSC = 608
    RDTSCP = 609
    SYSCALL = 699
    SYSENTER = 700


class UnicornError(IntEnum):
    """uc_err, the ones a guest can cause."""

    OK = 0
    READ_UNMAPPED = 6
    WRITE_UNMAPPED = 7
    FETCH_UNMAPPED = 8
    INSN_INVALID = 10
    WRITE_PROT = 12
    READ_PROT = 13
    FETCH_PROT = 14
    EXCEPTION = 21


class TranslationBlock(ctypes.Structure):
    """uc_tb: a run of guest instructions that Unicorn translated as one."""

    _fields_ = (("pc", c_uint64), ("icount", ctypes.c_uint16), ("size", ctypes.c_uint16))


# Callback types. The trailing user_data argument is left off: nobody uses it, and every
# argument converted costs time on the exit path.
MemoryHook = ctypes.PYFUNCTYPE(None, c_int, c_int, c_uint64, c_int, c_uint64)
MmioWrite = ctypes.PYFUNCTYPE(None, c_int, c_uint64, c_uint, c_uint64)
MmioRead = ctypes.PYFUNCTYPE(c_uint64, c_int, c_uint64, c_uint)
OutHook = ctypes.PYFUNCTYPE(None, c_int, c_uint32, c_int, c_uint32)
InHook = ctypes.PYFUNCTYPE(c_uint32, c_int, c_uint32, c_int)
InstructionHook = ctypes.PYFUNCTYPE(c_int, c_int)
InterruptHook = ctypes.PYFUNCTYPE(None, c_int, c_uint32)
BlockHook = ctypes.PYFUNCTYPE(None, c_int, c_uint64, c_uint32)
EdgeHook = ctypes.PYFUNCTYPE(None, c_int, ctypes.POINTER(TranslationBlock))


def _load() -> ctypes.PyDLL:
    """Load the library that the `unicorn` package ships."""
    spec = importlib.util.find_spec("unicorn")
    if spec is None or not spec.submodule_search_locations:
        raise MachineError(
            "the unicorn package is not installed", hint="python -m pip install unicorn"
        )
    for name in ("libunicorn.so.2", "libunicorn.2.dylib", "unicorn.dll"):
        path = Path(spec.submodule_search_locations[0]) / "lib" / name
        if path.exists():
            return ctypes.PyDLL(str(path))
    # Packaged by a distribution: the binding knows where its library is.
    from unicorn.unicorn_py3.unicorn import uclib

    return ctypes.PyDLL(uclib._name)  # noqa: SLF001 (ctypes offers no public name)


library = _load()

_SIGNATURES = {
    "uc_open": (c_int, (c_int, c_int, c_void_p)),
    "uc_close": (c_int, (c_void_p,)),
    "uc_reg_read": (c_int, (c_void_p, c_int, c_void_p)),
    "uc_reg_write": (c_int, (c_void_p, c_int, c_void_p)),
    "uc_reg_read_batch": (c_int, (c_void_p, c_void_p, c_void_p, c_int)),
    "uc_reg_write_batch": (c_int, (c_void_p, c_void_p, c_void_p, c_int)),
    "uc_mem_map_ptr": (c_int, (c_void_p, c_uint64, c_size_t, c_uint32, c_void_p)),
    "uc_mmio_map": (c_int, (c_void_p, c_uint64, c_size_t) + (c_void_p,) * 4),
    "uc_emu_start": (c_int, (c_void_p, c_uint64, c_uint64, c_uint64, c_size_t)),
    "uc_emu_stop": (c_int, (c_void_p,)),
    "uc_context_size": (c_size_t, (c_void_p,)),
    "uc_context_alloc": (c_int, (c_void_p, c_void_p)),
    "uc_context_save": (c_int, (c_void_p, c_void_p)),
    "uc_context_restore": (c_int, (c_void_p, c_void_p)),
    "uc_context_free": (c_int, (c_void_p,)),
}
for _name, (_result, _arguments) in _SIGNATURES.items():
    _function = getattr(library, _name)
    _function.restype = _result
    _function.argtypes = _arguments

#: uc_reg_read() for arguments that are C values already.
unconverted_reg_read = library["uc_reg_read"]


def check(error: int, doing: str) -> None:
    """Raise MachineError if a set-up call failed (no guest can cause that)."""
    if error:
        raise MachineError(f"unicorn failed {doing}: error {error}")


def add_hook(
    engine: c_void_p,
    kind: int,
    callback: object,
    begin: int,
    end: int,
    *extra: c_int,
    user_data: int | None = None,
) -> int:
    """uc_hook_add() for guest-physical (memory) or virtual (code) addresses begin..end.

    What it returns remove_hook() takes.
    """
    handle = c_size_t()
    check(
        library.uc_hook_add(
            engine,
            ctypes.byref(handle),
            c_int(kind),
            callback,
            c_void_p(user_data),
            c_uint64(begin),
            c_uint64(end),
            *extra,
        ),
        "adding a hook",
    )
    return handle.value


def remove_hook(engine: c_void_p, hook: int) -> None:
    """uc_hook_del()."""
    library.uc_hook_del(engine, c_size_t(hook))


def set_cpu_model(engine: c_void_p) -> None:
    """A Nehalem: without RDRAND and RDSEED, which would make every run another one."""
    uc_cpu_x86_nehalem = 15
    check(
        library.uc_ctl(engine, c_uint32(_UC_CTL_CPU_MODEL), c_int(uc_cpu_x86_nehalem)),
        "choosing the processor's model",
    )


def use_exits(engine: c_void_p) -> None:
    """Stop at the addresses of set_exits() only, and not at emu_start's `until`.

    After each run Unicorn drops the code at `until`, for which it looks the address up; if
    no page is there, that is a page fault, and CR2 is gone (cpus.c, resume_all_vcpus()).
    """
    check(library.uc_ctl(engine, c_uint32(_UC_CTL_UC_USE_EXITS), c_int(1)), "choosing exits")


def set_exits(engine: c_void_p, *addresses: int) -> None:
    """Code translated from now on stops before the instruction at one of these addresses."""
    array = (c_uint64 * len(addresses))(*addresses)
    library.uc_ctl(engine, c_uint32(_UC_CTL_UC_EXITS), array, c_size_t(len(addresses)))


def translated_block(engine: c_void_p, address: int) -> TranslationBlock:
    """The translated block that starts at `address`, translating it if need be."""
    block = TranslationBlock()
    library.uc_ctl(
        engine, c_uint32(_UC_CTL_TB_REQUEST_CACHE), c_uint64(address), ctypes.byref(block)
    )
    return block


def forget_block(engine: c_void_p, begin: int, end: int) -> None:
    """Drop the translations of begin..end."""
    library.uc_ctl(engine, c_uint32(_UC_CTL_TB_REMOVE_CACHE), c_uint64(begin), c_uint64(end))


def forget_all_blocks(engine: c_void_p) -> None:
    """Drop all translations: the host wrote to guest code behind Unicorn's back."""
    library.uc_ctl(engine, c_uint32(_UC_CTL_TB_FLUSH))


def forget_translations(engine: c_void_p) -> None:
    """Drop all translated code and addresses: what is watched has changed."""
    forget_all_blocks(engine)
    library.uc_ctl(engine, c_uint32(_UC_CTL_TLB_FLUSH))
