"""The `toyvisor` command, and `python -m toyvisor`."""

import signal
import sys


def run() -> int:
    """Load the command line and run it; a Ctrl-C meanwhile ends the process as in any other."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from toyvisor.cli import main

    signal.signal(signal.SIGINT, before)
    return main()


if __name__ == "__main__":
    sys.exit(run())
