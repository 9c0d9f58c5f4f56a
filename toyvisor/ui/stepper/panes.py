"""All panes with rows, in the order that Tab goes through them."""

from __future__ import annotations

from toyvisor.ui.stepper.console_pane import ConsolePane
from toyvisor.ui.stepper.device_pane import DevicePane
from toyvisor.ui.stepper.disassembly_pane import DisassemblyPane
from toyvisor.ui.stepper.events_pane import EventsPane
from toyvisor.ui.stepper.explain_pane import ExplainPane
from toyvisor.ui.stepper.interrupts_pane import InterruptsPane
from toyvisor.ui.stepper.lanes_pane import LanesPane
from toyvisor.ui.stepper.memory_pane import MemoryPane
from toyvisor.ui.stepper.pane import Pane
from toyvisor.ui.stepper.queues_pane import QueuesPane
from toyvisor.ui.stepper.registers_pane import RegistersPane
from toyvisor.ui.stepper.source_pane import SourcePane


def all_panes() -> list[Pane]:
    """One of each, by the names of `arrangement`."""
    return [
        LanesPane("lanes"),
        SourcePane("source"),
        DisassemblyPane("disassembly"),
        ExplainPane("explain"),
        RegistersPane("registers"),
        EventsPane("events"),
        QueuesPane("queues"),
        DevicePane("device"),
        InterruptsPane("interrupts"),
        MemoryPane("memory"),
        ConsolePane("console"),
    ]
