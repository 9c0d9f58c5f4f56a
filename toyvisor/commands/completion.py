"""`toyvisor completion SHELL`."""

from __future__ import annotations

import argparse


def main(arguments: argparse.Namespace) -> int:
    """Print a completion script, made from the parser itself."""
    import shtab

    print(shtab.complete(arguments.whole_parser(), arguments.shell))
    return 0
