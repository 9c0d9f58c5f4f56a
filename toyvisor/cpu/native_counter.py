"""The clock's fast path: a few machine instructions that run at the start of each block.

A Python callback costs some hundred times as much as the block it counts. So where the
host is an x86-64 with the System V calling convention, Unicorn calls the code below; it
hands over to the Python callback whatever is not plain counting: a block it has not seen,
the end of the time slice, a block that was left half-way. Elsewhere Python does it all;
the counts are the same.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from ctypes import c_uint32, c_uint64, c_void_p

TABLE_ENTRIES = 8192

#: What CODE is the encoding of; a test assembles it.
SOURCE = """
    mov     edx, edx                # a uint32 argument: the upper half is undefined
    mov     r8, [rcx+16]            # does it begin inside the last block
    cmp     rsi, r8
    jb      1f
    mov     r9d, [rcx+24]
    add     r9, r8
    lea     r10, [rsi+rdx]
    cmp     r10, r9                 # ... and end before that would have?
    jb      2f
1:  mov     rax, rsi                # look the block up
    shr     rax, 13
    xor     rax, rsi
    and     eax, 8191
    shl     eax, 4
    add     rax, [rcx+32]
    cmp     [rax], rsi
    jne     2f
    cmp     [rax+8], edx
    jne     2f
    mov     eax, [rax+12]           # its instructions
    mov     r8, [rcx]
    add     r8, rax
    cmp     r8, [rcx+8]             # past the limit?
    ja      2f
    mov     [rcx], r8
    mov     [rcx+16], rsi
    mov     [rcx+24], edx
    mov     [rcx+28], eax
    ret
2:  jmp     qword ptr [rcx+40]      # Python: same arguments
"""
CODE = bytes.fromhex(
    "89d24c8b41104c39c67210448b49184d01c14c8d14164d39ca723d4889f048c1"
    "e80d4831f025ff1f0000c1e004480341204839307522395008751d8b400c4c8b"
    "014901c04c3b4108770e4c89014889711089511889411cc3ff6128"
)


class ClockState(ctypes.Structure):
    """What the machine code and Python share. See Clock for the meanings."""

    _fields_ = (
        ("with_block", c_uint64),
        ("limit", c_uint64),
        ("block", c_uint64),
        ("block_size", c_uint32),
        ("block_instructions", c_uint32),
        ("table", c_void_p),
        ("slow_path", c_void_p),
    )


class TableEntry(ctypes.Structure):
    """A block and its instructions; found by its address."""

    _fields_ = (("address", c_uint64), ("size", c_uint32), ("count", c_uint32))


def table_slot(address: int) -> int:
    """Where a block's entry is, if it is in the table."""
    return (address ^ address >> 13) & (TABLE_ENTRIES - 1)


_page: mmap.mmap | None = None


def native_counter() -> int | None:
    """The address of CODE in executable memory; None where it can't run."""
    global _page
    if sys.platform == "win32" or os.uname().machine not in ("x86_64", "amd64"):
        return None
    if _page is None:
        try:
            _page = mmap.mmap(
                -1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
            )
        except OSError:  # a hardened kernel
            return None
        _page.write(CODE)
    return ctypes.addressof(ctypes.c_char.from_buffer(_page))
