"""`toyvisor step PROGRAM`: the full-screen stepper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize

from toyvisor.ui.stepper.arrangement import VIEWS, Choice, spacing
from toyvisor.ui.stepper.desk import Desk
from toyvisor.ui.stepper.help_screen import HelpScreen
from toyvisor.ui.stepper.keys import all_commands
from toyvisor.ui.stepper.keys_row import KeysRow
from toyvisor.ui.stepper.palette import Commands
from toyvisor.ui.stepper.pane import Pane
from toyvisor.ui.stepper.panes import all_panes
from toyvisor.ui.stepper.picture import Picture
from toyvisor.ui.stepper.places import Places
from toyvisor.ui.stepper.session_app import LOOK_AHEAD, Movement
from toyvisor.ui.stepper.source_pane import SourcePane
from toyvisor.ui.stepper.status_bar import StatusBar
from toyvisor.ui.stepper.tabs import Tabs
from toyvisor.ui.stepper.themes import THEMES
from toyvisor.ui.stepper.timeline_pane import TimelinePane, most_cells

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

T = TypeVar("T")


class StepperApp(Places):
    """Panes around a session. `exit` code: 0, or 130 after Ctrl-C."""

    COMMANDS: ClassVar[set[Any]] = {Commands}
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            ",".join(command.keys), command.action, command.title, show=False,
            priority=command.keys == ("ctrl+c",),
        )
        for command in all_commands()
    ]  # fmt: skip

    def __init__(
        self,
        make_session: Callable[[], Session],
        *,
        presenter: bool = False,
        light: bool = False,
        look_ahead: int = LOOK_AHEAD,
        commands: Sequence[str] = (),
    ) -> None:
        super().__init__(make_session, look_ahead=look_ahead)
        self._commands = commands
        self._choice = Choice(presenter=presenter)
        self._is_dark = not light
        for theme in THEMES.values():
            self.register_theme(theme)
        self._choose_theme()

    def compose(self) -> ComposeResult:
        """The desk with all panes."""
        widgets = [StatusBar(), Tabs(), *all_panes(), TimelinePane(), KeysRow()]
        yield Desk(widgets, self._choice)

    def on_mount(self) -> None:
        """Begin."""
        self._arrange()
        self.query_one(SourcePane).focus()
        self.start_session()
        for line in self._commands:
            self._type(line)

    def _type(self, line: str) -> None:
        self.move(Movement(line, lambda _: self.typed.execute(line)))

    def on_unmount(self) -> None:
        """The end."""
        self.end_session()

    # Showing -------------------------------------------------------------------------------

    def show_picture(self, picture: Picture) -> None:
        """All panes."""
        self.query_one(StatusBar).show(picture)
        self.query_one(TimelinePane).show(picture)
        for pane in self.query(Pane):
            pane.show(picture)

    def show_running(self, words: str, instructions: int) -> None:
        """The spinner."""
        self.query_one(StatusBar).running(words, instructions)

    def _arrange(self) -> None:
        desk = self.query_one(Desk)
        desk.choose(self._choice)
        seen = [view for view in desk.visible_views() if view in VIEWS]
        self.query_one(Tabs).show(self._choice.view, seen)
        width, height = self.size
        for pane in self.query(Pane):
            pane.space(spacing(width, height, self._choice))
            pane.set_class(desk.is_at_right(pane.id or ""), "-right")

    def on_resize(self, event: Resize) -> None:
        """Another terminal size: another arrangement, and a timeline of another length."""
        self.call_after_refresh(self._resized)

    def _resized(self) -> None:
        self._arrange()
        cells = most_cells(self.size.width)
        if cells != self.wishes.timeline_cells:
            self.wishes = self.wishes._replace(timeline_cells=cells)
            self.look()

    def _choose_theme(self) -> None:
        self.theme = THEMES[self._choice.presenter, self._is_dark].name

    def show_view(self, view: str) -> None:
        """Choose a view; it gets the focus."""
        self._choice = self._choice.choose(view)
        self._arrange()
        self.query_one(f"#{view}", Pane).focus()

    def on_tabs_picked(self, message: Tabs.Picked) -> None:
        """A click on a view's name."""
        self.show_view(message.view)

    # Keys ------------------------------------------------------------------------------------

    def action_view(self, number: int) -> None:
        """A view by its number key."""
        view = next(view for view, (key, _) in VIEWS.items() if key == str(number))
        self.show_view(view)

    def action_another(self) -> None:
        """The next queue in its view; else the next device in its view, which `d` stops at then.

        Behind the last one it is again whichever something happens to.
        """
        if self._choice.switched == "queues":
            queues = [(one.device, one.index) for one in self.picture.machinery.queues]
            self.wishes = self.wishes._replace(queue=_following(self.wishes.queue, queues))
        else:
            names = [one.name for one in self.picture.machinery.devices]
            self.wishes = self.wishes._replace(device=_following(self.wishes.device, names))
            self.show_view("device")
        self.look()

    def action_presenter(self) -> None:
        """For the projector, or not."""
        self._choice = self._choice._replace(presenter=not self._choice.presenter)
        self._choose_theme()
        self._arrange()

    def action_light(self) -> None:
        """Light or dark."""
        self._is_dark = not self._is_dark
        self._choose_theme()

    def action_screenshot(self) -> None:  # type: ignore[override]
        """The screen as a file."""
        name = f"toyvisor-{self.picture.program}-{self.picture.moment.events}"
        path, number = Path(f"{name}.svg"), 1
        while path.exists():
            number += 1
            path = Path(f"{name}-{number}.svg")
        try:
            self.save_svg(path)
        except OSError as error:
            self.notify(f"can't write {path}: {error.strerror}", severity="error", markup=False)
        else:
            self.notify(f"saved {path}", markup=False)

    def save_svg(self, path: Path) -> None:
        """Write the screen as it is. Raises OSError."""
        path.write_text(self.export_screenshot(title=f"toyvisor step {self.picture.program}"))

    def action_help(self) -> None:
        """The help screen."""
        self.push_screen(HelpScreen())

    async def action_quit(self) -> None:
        """q."""
        self.exit(0)


def _following(chosen: T | None, choices: Sequence[T]) -> T | None:
    """The choice behind the one that is chosen; None before the first and behind the last."""
    number = choices.index(chosen) + 1 if chosen in choices else 0
    return choices[number] if number < len(choices) else None


def run_stepper(
    make_session: Callable[[], Session],
    *,
    presenter: bool = False,
    light: bool = False,
    inline_commands: Sequence[str] = (),
) -> int:
    """Show the stepper until the user leaves it; the exit status: 0, or 130 after Ctrl-C.

    `make_session` is called on the thread that the session is to live on; what it raises is
    raised here. `inline_commands` are done at the beginning, as if typed at the prompt.
    """
    app = StepperApp(make_session, presenter=presenter, light=light, commands=inline_commands)
    status = app.run()
    if app.failure is not None:
        raise app.failure
    return status or 0
