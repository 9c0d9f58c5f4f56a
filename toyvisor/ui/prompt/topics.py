"""`info`: what it can tell of, in one table."""

from __future__ import annotations

from toyvisor.errors import UsageError
from toyvisor.ui.prompt import info_devices, info_state, stopping
from toyvisor.ui.prompt.command import Command, by_name, find
from toyvisor.ui.prompt.desk import Desk

TOPICS = (
    Command(("registers", "r"), "[NAME... | all]", "general registers and flags",
          info_state.registers, "register"),
    Command(("flags",), "", "each flag, and what it says", info_state.flags),
    Command(("breakpoints", "b"), "", "breakpoints and watchpoints", stopping.info_breakpoints),
    Command(("checkpoints",), "", "moments with names", info_state.checkpoints),
    Command(("program",), "", "program, machine, how far it is recorded", info_state.program),
    Command(("line",), "[PLACE]", "the source line of a place", info_state.line, "place"),
    Command(("symbol",), "ADDRESS", "the label before an address", info_state.symbol, "expression"),
    Command(("labels",), "[PART]", "labels, those with PART in the name", info_state.labels),
    Command(("devices",), "", "all devices", info_devices.devices),
    Command(("device",), "[NAME]", "a device's registers", info_devices.device, "device"),
    Command(("rings",), "", "all virtqueues", info_devices.rings),
    Command(("ring",), "NAME", "a virtqueue: descriptors, available ring, used ring",
          info_devices.ring, "ring"),
    Command(("interrupts",), "", "what is asked for, and what is in its way",
          info_devices.interrupts),
    Command(("pic",), "", "the interrupt controllers", info_devices.pic),
    Command(("pit",), "", "the timer", info_devices.pit),
    Command(("idt",), "", "the interrupt vectors", info_devices.idt),
    Command(("exits",), "", "vmexits by reason", info_state.exits),
    Command(("copies",), "", "copies by hop", info_state.copies),
    Command(("counters",), "", "all that is counted", info_state.counters),
    Command(("events",), "[COUNT | FROM TO]", "the last events", info_state.events),
    Command(("packets",), "", "frames sent and received", info_state.packets),
    Command(("console",), "", "what the guest has printed", info_state.console),
    Command(("display",), "", "what is shown at each stop",
          lambda desk, _: stopping.display(desk, "")),
)  # fmt: skip
_TOPICS = by_name(TOPICS)


def find_topic(word: str) -> Command:
    """The topic of a name, or of a beginning that only one has. Raises UsageError."""
    return find(word, _TOPICS, "info has no topic", "`help info` lists them")


def info(desk: Desk, argument: str) -> None:
    """`info TOPIC`."""
    word, _, rest = argument.partition(" ")
    if not word:
        raise UsageError("info of what?", hint="`help info` lists the topics")
    topic = find_topic(word)
    if rest.strip() and not topic.argument:
        raise UsageError(f"info {topic.name} takes no argument")
    topic.do(desk, rest.strip())
