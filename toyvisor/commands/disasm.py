"""`toyvisor disasm FILE`."""

from __future__ import annotations

import argparse
from pathlib import Path

from toyvisor.commands.source_input import assemble_for, mode_and_origin
from toyvisor.errors import InputError
from toyvisor.guest.disassembler import disassemble
from toyvisor.guest.library import SUFFIXES, find_program
from toyvisor.guest.program import DEFAULT_ORIGIN
from toyvisor.modes import CpuMode

MAX_BINARY = 16 << 20


def main(arguments: argparse.Namespace) -> int:
    """Print a binary, or a program's assembled code, as instructions."""
    path = Path(arguments.file)
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        mode = CpuMode(arguments.mode) if arguments.mode else CpuMode.LONG
        origin = arguments.origin if arguments.origin is not None else DEFAULT_ORIGIN[mode]
        code = _read(path)
    else:
        mode, _ = mode_and_origin(find_program(arguments.file), arguments.mode, arguments.origin)
        assembly = assemble_for(arguments.file, arguments.mode, arguments.origin)
        code, origin = assembly.image, assembly.origin
    for instruction in disassemble(code, origin, mode):
        data = instruction.data.hex(" ")
        print(f"{instruction.address:8x}:  {data:<30}  {instruction.text}")
    return 0


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BINARY:
            raise InputError(f"{path} is larger than {MAX_BINARY >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from None
