"""What one picture of a demo shows, as plain data: taken from a session at one moment."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from toyvisor.debug.counters import Counters
from toyvisor.debug.views.disassembly import disassembly, instruction_at
from toyvisor.debug.views.lanes import ExitPath, path_of_exit
from toyvisor.debug.views.registers import RegistersView, changed_registers, registers_view
from toyvisor.debug.views.virtqueue import VirtqueueView, changed_in_queue, virtqueues
from toyvisor.trace.jsonl import to_dict
from toyvisor.trace.text import describe
from toyvisor.ui.demo.script import Show
from toyvisor.ui.stepper.source_files import SourceFiles
from toyvisor.ui.stepper.timeline_cells import Timeline, TimelineMaker

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

NOTHING: frozenset[str] = frozenset()
#: Cells of the timeline, whatever the width; few enough for the smallest screen.
_CELLS = 72


class CodeLine(NamedTuple):
    """A line of source, or where there is none an instruction."""

    number: int  # 0: an instruction
    text: str
    is_current: bool


class Scene(NamedTuple):
    """One picture, but for its caption."""

    instructions: int
    between: bool
    path: ExitPath | None
    event: str  # the last event in words
    instruction: str
    file: str
    code: tuple[CodeLine, ...]
    registers: RegistersView
    changed: frozenset[str]
    queue: VirtqueueView | None
    queue_changed: frozenset[str]
    console: bytes
    counters: Counters
    timeline: Timeline
    show: Show


class SceneMaker:
    """Takes scenes of one session. What changed is told against the scene before."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sources = SourceFiles(session.program)
        self._timelines = TimelineMaker()
        self._before: Scene | None = None

    def take(self, show: Show | None = None) -> Scene:
        """The scene where the session stands."""
        session, before = self._session, self._before
        now = session.moment.events
        path = path_of_exit(session.events, now - 1) if now else None
        registers = registers_view(session.machine)
        queue, queue_changed = self._queue()
        file, code = self._code()
        found = instruction_at(session.machine, session.instruction_address())
        scene = Scene(
            session.moment.instructions,
            session.moment.between,
            path,
            describe(to_dict(session.events[now - 1])) if now else "",
            found.text if found is not None else "",
            file,
            code,
            registers,
            changed_registers(before.registers, registers) if before else NOTHING,
            queue,
            queue_changed,
            session.console(),
            session.counters().copy(),
            self._timelines.make(session, _CELLS),
            show or _useful(queue_changed, queue, path, between=session.moment.between),
        )
        self._before = scene
        return scene

    def _queue(self) -> tuple[VirtqueueView | None, frozenset[str]]:
        """The queue that something happened to; else the one shown before; else the first."""
        old = self._before.queue if self._before is not None else None
        ready = [queue for queue in virtqueues(self._session.machine) if queue.ready]
        same = next((q for q in ready if old and q.index == old.index), None)
        if same is not None and old is not None and (names := changed_in_queue(old, same)):
            return same, names
        if old is None or same is None:
            busy = [queue for queue in ready if queue.avail.idx]
            return next(iter(busy or ready), None), NOTHING
        other = next((q for q in ready if q.index != old.index and _is_fresher(q, old)), None)
        return (other or same), NOTHING

    def _code(self) -> tuple[str, tuple[CodeLine, ...]]:
        """The file's name and all its lines; instructions where no line made the present one."""
        session = self._session
        line = session.line()
        if line is not None:
            file, at = line.location.file, line.location.line
            lines = enumerate(self._sources.lines(file), 1)
            return PurePath(file).name, tuple(CodeLine(n, text, n == at) for n, text in lines)
        here = session.instruction_address()
        rows = disassembly(session.machine, session.program, here)
        return "", tuple(
            CodeLine(0, f"{r.address:x}  {r.text}", r.address == here) for r in rows
        )  # fmt: skip


def _is_fresher(queue: VirtqueueView, old: VirtqueueView) -> bool:
    """Buffers are under way in it, and not in the other one."""

    def under_way(one: VirtqueueView) -> int:
        return one.avail.idx - one.used.idx

    return under_way(queue) > 0 and under_way(old) == 0


def _useful(
    changed: frozenset[str], queue: VirtqueueView | None, path: ExitPath | None, *, between: bool
) -> Show:
    """What the right half shows where nobody says."""
    if queue is not None and changed:
        return Show.QUEUE
    if path is not None and not between:
        return Show.WAY
    return Show.REGISTERS
