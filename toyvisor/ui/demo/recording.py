"""Recordings of a run, by the name of the file: a page, an asciicast, a drawing, or text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toyvisor.errors import InputError, UsageError
from toyvisor.ui.demo.cards import Card
from toyvisor.ui.demo.cast import DEFAULT_SIZE, cast_lines
from toyvisor.ui.demo.default_show import default_show

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

Size = tuple[int, int]


def record_run(
    session: Session,
    path: str,
    *,
    cards: Sequence[Card] | None = None,
    title: str = "",
    size: Size = DEFAULT_SIZE,
) -> None:
    """Write the session's run into a file; its suffix says as what (see `KINDS`).

    A show is that of `cards`, or else the default one. A picture without cards is of where the
    session stands; it stands there afterwards, too. Raises UsageError for another suffix,
    InputError if the file can't be written.
    """
    kind = kind_of(path)
    moment, stop = session.moment, session.stop
    try:
        _write(path, _KINDS[kind](session, cards, title or title_of(session), size))
    finally:
        session.go_to(moment)
        session.stop = stop


def kind_of(path: str) -> str:
    """The suffix of a recording. Raises UsageError if it is none of those that there are."""
    suffix = Path(path).suffix.lower()
    if suffix not in _KINDS:
        raise UsageError(
            f"can't record into {path!r}: its name does not say as what",
            hint="; ".join(f"{one}: {words}" for one, words in KINDS.items()),
        )
    return suffix


def title_of(session: Session) -> str:
    """What the show is called."""
    program = session.program
    return f"{program.name}: {program.spec.title}".removesuffix(": ")


def _write(path: str, lines: Iterable[str]) -> None:
    try:
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(f"can't write {path}: {reason}") from None


# What each kind is ----------------------------------------------------------------------


def _page(session: Session, _cards: object, _title: str, _size: Size) -> Iterable[str]:
    from toyvisor.ui.page.page import run_page

    return [run_page(session)]


def _cast(session: Session, cards: Sequence[Card] | None, title: str, size: Size) -> Iterable[str]:
    return cast_lines(session, cards or default_show(session), title, size)


def _svg(session: Session, cards: Sequence[Card] | None, title: str, size: Size) -> Iterable[str]:
    """With cards the last one; else where the session stands, explained."""
    from toyvisor.debug.explain import explain
    from toyvisor.ui.demo.ansi import svg
    from toyvisor.ui.demo.scene import SceneMaker
    from toyvisor.ui.demo.screen import Frame, draw

    maker, show = SceneMaker(session), None
    if cards:
        number, card = len(cards), cards[-1]
        session.go_to(card.moments[-1])
        caption, show = card.caption, card.show
    else:
        number, told = 1, explain(session)
        caption = f"{told.title}. {told.what}"
    frame = Frame(maker.take(show), title, caption, number, len(cards or "1"), state="", keys="")
    return [svg(draw(frame, *size), size[0], title)]


def _text(session: Session, cards: Sequence[Card] | None, title: str, _size: Size) -> Iterable[str]:
    from toyvisor.ui.demo.plain import blocks

    yield f"{title}\n\n"
    for lines, _ in blocks(session, cards or default_show(session)):
        yield from (f"{line}\n" for line in lines)


Maker = Callable[["Session", "Sequence[Card] | None", str, Size], Iterable[str]]
_KINDS: dict[str, Maker] = {".html": _page, ".cast": _cast, ".svg": _svg, ".txt": _text}
#: What may be recorded, in words.
KINDS = {
    ".html": "a page of the whole run",
    ".cast": "for asciinema",
    ".svg": "one picture",
    ".txt": "captions and events",
}
