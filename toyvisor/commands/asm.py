"""`toyvisor asm FILE`."""

from __future__ import annotations

import argparse

from toyvisor.commands.output import check_writable, write_output
from toyvisor.commands.source_input import assemble_for


def main(arguments: argparse.Namespace) -> int:
    """Assemble a file to a flat binary, a listing, or a line about it."""
    check_writable(arguments.output)
    assembly = assemble_for(arguments.file, arguments.mode, arguments.origin)
    if arguments.output:
        write_output(arguments.output, assembly.image)
    if arguments.listing:
        write_output(None, assembly.listing.format().rstrip("\n") + "\n")
    elif arguments.output != "-":
        end = assembly.origin + len(assembly.image)
        where = f" to {arguments.output}" if arguments.output else ""
        print(
            f"{arguments.file}: {len(assembly.image)} bytes{where}, "
            f"{assembly.origin:#x}-{max(end - 1, assembly.origin):#x}, "
            f"entry {assembly.entry:#x}"
        )
    return 0
