"""The screens that are kept as text, in `snapshots/`, to be read in a diff.

After a change that is meant, renew them all: `python tests/ui/stepper/screens.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stepper_kit import NARROW, WIDE, play

FOLDER = Path(__file__).parent / "snapshots"


class Screen(NamedTuple):
    """A program and the keys that lead there."""

    program: str
    keys: tuple[str, ...]
    presenter: bool = False


KICK = ("g", "exit 28", "v*9")
SCREENS = {
    "start": Screen("virtio_net_tx", ()),
    "store": Screen("mmio_nic_tx", ("e*9", "v*3")),
    "registers": Screen("mmio_nic_tx", ("e*9", "s*3", "3")),
    "disassembly": Screen("mmio_nic_tx", ("e*9", "s*3", "2")),
    "why": Screen("virtio_net_tx", (*KICK, "4")),
    "events": Screen("virtio_net_tx", (*KICK, "5")),
    "transmitq": Screen("virtio_net_tx", (*KICK, "6")),
    "receiveq": Screen("virtio_net_rx", ("g", "exit 81", "v*8", "6")),
    "device": Screen("virtio_net_tx", ("e*8", "7")),
    "interrupts": Screen("ping_responder", ("i", "8")),
    "timer": Screen("timer_tick", ("i*2", "8")),
    "console": Screen("hello_mmio", ("c", "E", "9")),
    "memory": Screen("virtio_net_tx", (*KICK, "m", "0x20000")),
    "presenter": Screen("virtio_net_tx", KICK, presenter=True),
    "end": Screen("virtio_net_tx", ("c",)),
    "help": Screen("add", ("question_mark",)),
    "goto": Screen("add", ("g",)),
    "search": Screen("virtio_net_tx", ("slash", "virtqueue_pop")),
    "prompt": Screen("virtio_net_tx", (*KICK, "colon", "info ring transmitq")),
}
SIZES = {"80x24": NARROW, "120x40": WIDE}
_ASKS = ("g", "m", "slash", "colon")


def draw(screen: Screen, size: tuple[int, int]) -> str:
    """The screen as text."""
    drawn = ""

    async def scenario(stepper) -> None:
        nonlocal drawn
        keys = list(screen.keys)
        while keys:
            key = keys.pop(0)
            await stepper.press(key)
            if key in _ASKS and keys:
                await stepper.type(keys.pop(0))
        drawn = "\n".join(stepper.rows) + "\n"

    play(screen.program, scenario, size, presenter=screen.presenter)
    return drawn


def path(name: str, size: str) -> Path:
    """Where a screen is kept."""
    return FOLDER / f"{name}-{size}.txt"


def main() -> None:
    """Draw them all anew."""
    FOLDER.mkdir(exist_ok=True)
    for name, screen in SCREENS.items():
        for size_name, size in SIZES.items():
            path(name, size_name).write_text(draw(screen, size), encoding="utf-8")


if __name__ == "__main__":
    main()
