"""`toyvisor disasm FILE`."""

from __future__ import annotations

import argparse

from toyvisor.commands.source_input import assemble_for, mode_and_origin
from toyvisor.errors import UsageError
from toyvisor.guest.disassembler import disassemble
from toyvisor.guest.library import SUFFIXES, find_program
from toyvisor.guest.program import DEFAULT_ORIGIN
from toyvisor.guest.source import read_bytes
from toyvisor.modes import CpuMode

MAX_BINARY = 16 << 20
_ADDRESS_END = 1 << 64


def main(arguments: argparse.Namespace) -> int:
    """Print a binary, or a program's assembled code, as instructions."""
    path = find_program(arguments.file)
    if path.suffix.lower() not in SUFFIXES:
        mode = CpuMode(arguments.mode) if arguments.mode else CpuMode.LONG
        origin = arguments.origin if arguments.origin is not None else DEFAULT_ORIGIN[mode]
        code = read_bytes(path, MAX_BINARY)
    else:
        mode, _ = mode_and_origin(path, arguments.mode, arguments.origin)
        assembly = assemble_for(arguments.file, arguments.mode, arguments.origin)
        code, origin = assembly.image, assembly.origin
    if origin + len(code) > _ADDRESS_END:
        raise UsageError(f"{arguments.file} does not fit between {origin:#x} and the last address")
    for instruction in disassemble(code, origin, mode):
        line = f"{instruction.address:8x}:  {instruction.data.hex(' '):<30}  {instruction.text}"
        print(line.rstrip())
    return 0
