"""`toyvisor programs`."""

from __future__ import annotations

import argparse
import json
import sys

from toyvisor.guest.library import find_program, shipped_programs
from toyvisor.guest.source import read_source


def main(arguments: argparse.Namespace) -> int:
    """List the shipped programs, or print the source of one."""
    if arguments.name is not None:
        sys.stdout.write(read_source(find_program(arguments.name)).text)
        return 0
    programs = shipped_programs()
    if arguments.json:
        rows = [{"name": p.name, "title": p.title, "path": str(p.path)} for p in programs]
        print(json.dumps(rows, indent=2))
        return 0
    width = max((len(p.name) for p in programs), default=0)
    for program in programs:
        print(f"{program.name:<{width}}  {program.title}")
    return 0
