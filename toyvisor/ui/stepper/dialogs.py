"""Commands that ask for a line first: go to, search, watch, memory, what if, prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from toyvisor.ui.stepper import walking
from toyvisor.ui.stepper.ask import Ask
from toyvisor.ui.stepper.event_window import search_events
from toyvisor.ui.stepper.pick import Pick
from toyvisor.ui.stepper.prompt_screen import PromptScreen
from toyvisor.ui.stepper.rows import Target
from toyvisor.ui.stepper.session_app import Movement
from toyvisor.ui.stepper.walk_keys import WalkKeys
from toyvisor.ui.stepper.walking import line_name

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

#: Entries of a search's result.
_MOST_FOUND = 300


class Dialogs(WalkKeys):
    """What is typed is worked out on the session's thread; mistakes come back as notifications."""

    def __init__(self, make_session: Callable[[], Session], *, look_ahead: int) -> None:
        super().__init__(make_session, look_ahead=look_ahead)
        #: lines of the prompt
        self._typed_lines: list[str] = []

    def ask(
        self, question: str, examples: str, then: Callable[[str], None], *, value: str = ""
    ) -> None:
        """Ask for a line; nothing happens if there is none."""

        def answered(answer: str | None) -> None:
            if answer is not None:
                then(answer)

        self.push_screen(Ask(question, examples, words=self.labels, value=value), answered)

    def show_line(self, file: str, line: int) -> None:
        """Show a line of the source."""
        raise NotImplementedError

    # The commands ----------------------------------------------------------------------------

    def action_go_to(self) -> None:
        """Travel."""
        self.ask(
            "Go to",
            walking.EXAMPLES,
            lambda text: self.move(Movement(f"to {text}", lambda s: walking.go_to(s, text))),
        )

    def action_watch(self) -> None:
        """A watchpoint."""

        def made(text: str) -> None:
            self.move(
                Movement(
                    "watching",
                    lambda session: session.watch(text),
                    lambda one: self.notify(
                        f"watchpoint {one.number}: {one.text}", markup=False
                    ),
                )
            )  # fmt: skip

        self.ask(
            "Stop when this changes", "rax   0x20000:16   tx.used.idx   virtio_net.Status", made
        )

    def action_memory(self) -> None:
        """Memory at an address, or where a register points."""

        def chosen(text: str) -> None:
            def check(session: Session) -> None:
                session.evaluate(text)
                self.wishes = self.wishes._replace(memory=text)

            self.move(Movement("looking", check))
            self.show_view("memory")

        self.ask(
            "Memory at", "rsp   rdi + 0x10   0x20000   (a register is followed)", chosen,
            value=self.wishes.memory,
        )  # fmt: skip

    def show_view(self, view: str) -> None:
        """Choose a view."""
        raise NotImplementedError

    def action_what_if(self) -> None:
        """Change the guest."""
        self.ask(
            "What if",
            "rax = 5   zf = 1   u32[0x20000] = 7   (X leaves the branch that it makes)",
            lambda text: self.move(
                Movement("changing", lambda _: self.typed.execute(f"set {text}"))
            ),
        )

    def action_prompt(self) -> None:
        """Debugger commands."""

        def execute(line: str, say: Callable[[list[str]], None]) -> None:
            def answered(lines: list[str]) -> None:
                say(lines)
                if self.typed.is_over:
                    self.exit(0)

            self.move(Movement(line, lambda _: self.typed.answer(line), answered))

        def complete(text: str, take: Callable[[list[str]], None]) -> None:
            if not self.is_busy:
                self.move(Movement("looking", lambda _: self.typed.completions(text), take))

        self.push_screen(PromptScreen(execute, complete, self._typed_lines))

    def action_search(self) -> None:
        """Find words in events and in the source."""

        def search(session: Session, words: str) -> list[tuple[Target, str]]:
            events = [
                (Target("event", one.number), f"#{one.number:<6} {one.layer.name:<5} {one.text}")
                for one in search_events(session, words, _MOST_FOUND)
            ]
            lines = [
                (Target("line", (file, number)), f"{line_name(file, number)}  {text.strip()}")
                for file, number, text in self.camera.sources.search(words)[:_MOST_FOUND]
            ]
            return events + lines if events else lines

        def begin(words: str) -> None:
            self.move(
                Movement(
                    "searching",
                    lambda session: search(session, words),
                    lambda found: self._found(words, found),
                )
            )

        self.ask(
            "Search in events and source", "kvm_inj_virq   gpa 0xd0000050   QueueNotify", begin
        )

    def _found(self, words: str, found: list[tuple[Target, str]]) -> None:
        if not found:
            self.notify(f"nothing has {words!r} in it", severity="warning", markup=False)
            return

        def picked(number: int | None) -> None:
            if number is not None:
                self.follow(found[number][0])

        heading = f"{len(found)} places with {words!r}: Enter goes there"
        self.push_screen(Pick(heading, [text for _, text in found]), picked)

    def follow(self, target: Target) -> None:
        """Go to what a row stands for."""
        raise NotImplementedError
