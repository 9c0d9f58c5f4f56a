"""Any keys, in any order, over programs of every kind: no fault, no lost place."""

from __future__ import annotations

import random

import pytest
from stepper_kit import NARROW, WIDE, play
from textual.widgets import Input

from toyvisor.ui.stepper.keys import all_commands

_LINES = (
    "100", "#20", "exit 3", ":40", "start", "end", "_start", "rax", "rax = 7", "u32[0x2000] = 1",
    "0x2000:16", "info registers", "x/4gx rsp", "back", "bt", "rsp + 8", "[[", "", "9" * 30, "…",
)  # fmt: skip
#: Keys that would leave the stepper or write files.
_NOT = {"q", "o", "ctrl+c", "ctrl+p"}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("program", "size"),
    [
        ("virtio_net_rx", NARROW), ("ping_responder", WIDE), ("timer_tick_real", WIDE),
        ("triple_fault", NARROW), ("mmio_nic_tx", (60, 16)), ("hello_protected", WIDE),
        ("user_mode", NARROW), ("virtio_net_tx_batch", (180, 50)),
    ],
)  # fmt: skip
def test_random_keys(program, size, seed) -> None:
    dice = random.Random(f"{program} {seed}")
    keys = [key for command in all_commands() for key in command.keys if key not in _NOT]
    keys += ["up", "down", "enter", "pageup", "escape", "s", "e", "v", "i", "left", "home"]

    async def scenario(stepper) -> None:
        pressed = []
        for _ in range(25):
            key = dice.choice(keys)
            pressed.append(key)
            await stepper.press(key)
            if stepper.app.screen.query(Input):
                line = dice.choice(_LINES)
                pressed.append(line)
                await stepper.type(line)
                if dice.random() < 0.7:
                    await stepper.press("escape")
        faults = [text for text in stepper.messages if "a fault of the stepper's" in text]
        assert not faults, pressed

    play(program, scenario, size)
