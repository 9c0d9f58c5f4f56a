"""Arguments that many commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def program(parser: argparse.ArgumentParser) -> None:
    """PROGRAM."""
    parser.add_argument(
        "program", metavar="PROGRAM", help="a .s file, or the name of a shipped program"
    )


def device(parser: argparse.ArgumentParser) -> None:
    """--device."""
    parser.add_argument(
        "--device",
        metavar="TYPE,OPTION=VALUE",
        action="append",
        default=[],
        help="another option for a device of the program: virtio-net,vhost=on",
    )


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number in a range, with a message that says so."""

    def convert(text: str) -> int:
        try:
            number = int(text.replace("_", ""), 0)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{number} is not between {low} and {high}")
        return number

    return convert
