"""`toyvisor asm FILE`."""

from __future__ import annotations

import argparse

from toyvisor.commands.output import check_writable, write_output
from toyvisor.commands.source_input import assemble_for
from toyvisor.errors import UsageError
from toyvisor.guest.library import find_program


def main(arguments: argparse.Namespace) -> int:
    """Assemble a file to a flat binary, a listing, or a line about it."""
    if arguments.listing and arguments.output == "-":
        raise UsageError(
            "--listing and -o - both want standard output", hint="write the binary to a file"
        )
    check_writable(arguments.output, find_program(arguments.file))
    assembly = assemble_for(arguments.file, arguments.mode, arguments.origin)
    if arguments.output is not None:
        write_output(arguments.output, assembly.image)
    if arguments.listing:
        write_output(None, assembly.listing.format())
    elif arguments.output != "-":
        size = len(assembly.image)
        what = f"{size:,} byte{'' if size == 1 else 's'}"
        if arguments.output is not None:
            what += f" to {arguments.output}"
        if size:
            what += f", {assembly.origin:#x}-{assembly.origin + size - 1:#x}"
        print(f"{arguments.file}: {what}, entry {assembly.entry:#x}")
    return 0
