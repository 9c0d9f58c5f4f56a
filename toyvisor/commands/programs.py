"""`toyvisor programs`."""

from __future__ import annotations

import argparse
import json
import sys

from toyvisor.guest.library import ShippedProgram, find_program, shipped_programs
from toyvisor.guest.source import read_source


def main(arguments: argparse.Namespace) -> int:
    """List the shipped programs, or print the source of one."""
    programs = shipped_programs()
    if arguments.name is not None:
        path = find_program(arguments.name)
        source = read_source(path).text
        if arguments.json:
            titles = {program.path: program.title for program in programs}
            row = _row(ShippedProgram(path.stem, titles.get(path, ""), path))
            print(json.dumps({**row, "source": source}, indent=2))
        else:
            sys.stdout.write(source)
        return 0
    if arguments.json:
        print(json.dumps([_row(program) for program in programs], indent=2))
        return 0
    width = max((len(program.name) for program in programs), default=0)
    for program in programs:
        print(f"{program.name:<{width}}  {program.title}".rstrip())
    return 0


def _row(program: ShippedProgram) -> dict[str, str]:
    return {"name": program.name, "title": program.title, "path": str(program.path)}
