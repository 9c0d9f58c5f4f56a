"""`help`: all commands, one of them, or how expressions are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from toyvisor.ui.prompt.command import Command, by_name, find
from toyvisor.ui.prompt.desk import Desk
from toyvisor.ui.prompt.topics import TOPICS

_EXPRESSIONS = """\
rax eax ax al ah r8d rip zf cf iopl   registers, parts of them, flags ($rax, too)
10 0x1f 0b101 4K 'a'                   numbers
u8[A] u16[A] u32[A] u64[A]             memory by linear address; s8 to s64: signed
[A] [A]:4 dword ptr [A]                the same: 8 bytes, or as many as it says
message main.loop &message             labels and constants of the program
+ - * / % & | ^ ~ << >>                64-bit numbers, unsigned
== != < <= > >= and or not && || !     1 if it is true, or 0
signed(eax)                            a signed number; so is all that is reckoned with it
instructions events                    how far the run is
exits.total exits.mmio copies.bytes interrupts.injected ...
virtio_net.Status tx.avail.idx rx.used.idx ...
"""


def show_help(desk: Desk, argument: str, groups: Mapping[str, Sequence[Command]]) -> None:
    """`help [COMMAND | info | expressions]`."""
    word = argument.strip()
    if not word:
        for heading, group in groups.items():
            desk.say(f"{heading}:")
            _say_all(desk, group)
        desk.say("An empty line repeats the last movement. # begins a comment.")
        desk.say("`help expressions` says how expressions are written, `help info` lists topics.")
    elif word == "expressions":
        for line in _EXPRESSIONS.splitlines():
            desk.say(line)
    elif word == "info":
        desk.say("info TOPIC")
        _say_all(desk, TOPICS)
    else:
        table = by_name(command for group in groups.values() for command in group)
        command = find(word.split("/")[0], table, "there is no command", "`help` lists them")
        desk.say(command.usage)
        desk.say(f"  {command.meaning}")


def _say_all(desk: Desk, commands: Iterable[Command]) -> None:
    for command in commands:
        desk.say(f"  {command.usage}: {command.meaning}")
