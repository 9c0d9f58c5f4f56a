"""Walks through a run and writes down what the page shows at each step."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from toyvisor.debug.counters import Counters
from toyvisor.debug.explain import explain, explain_event
from toyvisor.debug.explanation import Explanation
from toyvisor.debug.views.devices import devices
from toyvisor.debug.views.disassembly import instruction_at
from toyvisor.debug.views.lanes import ExitPath, path_of_exit
from toyvisor.debug.views.registers import registers_view
from toyvisor.debug.views.virtqueue import virtqueues
from toyvisor.ui.page.facts import counter_facts, device_facts, queue_facts, register_facts
from toyvisor.ui.page.interning import Differences, Interned
from toyvisor.ui.page.plan import Stop
from toyvisor.ui.page.ways import Ways, Where

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

#: Characters of the console that a page keeps.
MOST_CONSOLE = 200_000


class Steps:
    """The steps of one page, and the tables that they point into."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.texts: Interned[str] = Interned()
        self.ways = Ways(session, self.texts)
        self.differences = Differences(self.texts)
        self.explanations: Interned[tuple[int, ...]] = Interned()
        #: Sources by their whole names.
        self.files: Interned[str] = Interned()
        self.visited: dict[int, set[int]] = {}
        #: [instructions, way, hop, between, whole, explanation, differences]
        self.rows: list[list[Any]] = []
        self._counters, self._counted = Counters(), 0
        self._decoder = getincrementaldecoder("utf-8")("backslashreplace")
        self._decoded = 0
        self.console = ""

    def add(self, stop: Stop) -> None:
        """Go there, and write down what there is to see."""
        session = self._session
        explanation = None
        if stop.exit is not None:  # what began the exit says more than what ended it
            session.go_to_event(stop.exit)
            event = session.events[stop.exit]
            explanation = explain_event(event, session.machine, session.program)
        session.go_to(stop.moment)
        moment, is_whole = session.moment, stop.exit is not None
        path = path_of_exit(session.events, moment.events - 1)
        where = self.ways.where(path, whole=is_whole) if path is not None else Where(-1, -1)
        facts = self._facts(path)
        told = self._explanation(explanation or explain(session))
        self.rows.append(
            [moment.instructions, where.way, where.hop, int(moment.between), int(is_whole), told,
             self.differences.next(facts)]
        )  # fmt: skip

    def _explanation(self, explanation: Explanation) -> int:
        return self.explanations.number(tuple(map(self.texts.number, explanation)))

    def _facts(self, path: ExitPath | None) -> dict[str, str]:
        session, machine = self._session, self._session.machine
        facts = dict(register_facts(registers_view(machine)))
        facts.update(
            counter_facts(
                self._count(), open_exit=_is_open(path), sent=len(session.machine.net.sent)
            )
        )
        for number, queue in enumerate(virtqueues(machine)):
            facts.update(queue_facts(number, queue))
        for number, device in enumerate(devices(machine)):
            facts.update(device_facts(number, device))
        facts["at"] = self._place()
        address = session.instruction_address()
        found = instruction_at(machine, address)
        facts["instruction"] = f"{address:x}: {found.text}" if found is not None else f"{address:x}"
        facts["console"] = str(self._print())
        return facts

    def _count(self) -> Counters:
        """The counters here; rolled on from the step before."""
        now = self._session.moment.events
        self._counters.roll_forward(self._session.events.between(self._counted, now))
        self._counted = now
        return self._counters

    def _place(self) -> str:
        """`file:line`, the file by its number; "" where no source made the instruction."""
        line = self._session.line()
        if line is None:
            return ""
        file = self.files.number(line.location.file)
        self.visited.setdefault(file, set()).add(line.location.line)
        return f"{file}:{line.location.line}"

    def _print(self) -> int:
        """Characters that the guest has printed up to here."""
        output = self._session.console()
        if len(self.console) < MOST_CONSOLE:
            self.console += self._decoder.decode(output[self._decoded :])
            self.console = self.console[:MOST_CONSOLE]
            self._decoded = len(output)
        return len(self.console)


def _is_open(path: ExitPath | None) -> bool:
    """Whether the exit is still under way, and KVM has not passed it on so far."""
    if path is None or path.is_over or path.hops[0].kind != "vm_exit":
        return False
    return not any(hop.is_done and hop.kind == "kvm_userspace_exit" for hop in path.hops)


def sources(
    files: Interned[str],
    visited: dict[int, set[int]],
    lines_of: Callable[[str], tuple[str, ...]],
    most: int,
) -> list[dict[str, Any]]:
    """The files with their lines; of what would be more than `most` characters only what is near
    a line that the guest was at."""
    found = []
    for number, file in enumerate(files.items):
        lines = list(lines_of(file))
        if sum(map(len, lines)) > most:
            near = {line + n for line in visited.get(number, ()) for n in range(-20, 21)}
            lines = [text if n in near else "" for n, text in enumerate(lines, 1)]
        found.append({"name": PurePath(file).name, "lines": lines})
    return found
