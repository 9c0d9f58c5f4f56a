"""Scripts: what they may say, and what somebody who writes one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from demo_kit import session_of

from toyvisor.errors import InputError, ToyvisorError
from toyvisor.ui.demo.captions import filled, reading_time
from toyvisor.ui.demo.cards import Beat, beats, rehearse
from toyvisor.ui.demo.moves import go
from toyvisor.ui.demo.script import Show, read_script, script_of

STEP = '[[step]]\ngo = "exit"\n'


def written(text: str, folder: Path, name: str = "my.demo.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_script_beside_a_program_is_its_script(tmp_path: Path):
    source = tmp_path / "my.s"
    source.write_text('; /// machine\n; mode = "long"\n; ///\nhlt\n')
    written(f'title = "mine"\n{STEP}say = "x"\nshow = "queue"\npause = 2', tmp_path)
    with session_of(str(source)) as session:
        found = script_of(session.program)
    assert found is not None
    assert found.title == "mine"
    assert found.steps[0].show is Show.QUEUE
    assert (found.steps[0].pause, found.steps[0].count) == (2.0, 1)


def test_a_program_without_one_has_none(tmp_path: Path):
    with session_of("add") as session:
        assert script_of(session.program) is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "my.demo.toml has no steps"),
        ("[[step]", "my.demo.toml is not TOML"),
        ("step = 3", "has no steps"),
        ("step = [3]", "step 1 is no table"),
        ("[[step]]\nsay = 'x'", "step 1 does not say where to go"),
        (STEP + "says = 'x'", "step 1: unknown key 'says' (hint: did you mean say?)"),
        (STEP + STEP + "count = 0", "step 2: count is a whole number from 1 to 1000"),
        (STEP + "count = true", "step 1: count is a whole number"),
        (STEP + "pause = 'long'", "step 1: pause is a number of seconds"),
        (STEP + "pause = -1", "step 1: pause is from 0 to 600 seconds"),
        (STEP + "beat = 1e9", "step 1: beat is from 0 to 600 seconds"),
        (STEP + "beat = nan", "step 1: beat is from 0 to 600 seconds"),
        (STEP + "say = 3", "step 1: say is a text in quotes"),
        (STEP + "show = 'all'", "step 1: show is registers, queue, console, way, not 'all'"),
        ("programm = 'x'\n" + STEP, "unknown key 'programm' (hint: did you mean program?)"),
        ("device = 'x'\n" + STEP, "device is a list of texts"),
        (STEP * 501, "has 501 steps; 500 are allowed"),
    ],
)
def test_mistakes_are_told_with_their_step(text: str, complaint: str, tmp_path: Path):
    with pytest.raises(InputError) as caught:
        read_script(written(text, tmp_path))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("step", "complaint"),
    [
        ("go = 'exits'", "go = 'exits' means nothing (hint: did you mean exit?)"),
        ("go = 'start now'", "go = 'start now' means nothing"),
        ("go = 'event vm_exits'", "there is no event 'vm_exits' (hint: did you mean vm_exit"),
        ("go = 'to nowhere'", "there is no label 'nowhere'"),
        ("go = 'until rax =='", "step 1: "),
        ("go = 'device disk'", "there is no device disk"),
        ("go = 'exit'\ncount = 3", "go = 'exit' comes to nothing: the run is over"),
        ("go = 'interrupt'", "comes to nothing: the run is over"),
        ("go = 'here'\nsay = 'a } brace'", "a brace alone"),
        ("go = 'here'\nsay = '{nothing}'", "step 1: "),
    ],
)
def test_a_step_that_can_not_be_done_is_told_before_the_show(
    step: str, complaint: str, tmp_path: Path
):
    found = read_script(written(f"[[step]]\n{step}", tmp_path))
    with session_of("one_store") as session, pytest.raises(InputError) as caught:
        rehearse(session, found)
    assert str(caught.value).startswith("error: my.demo.toml: step 1: ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("where", "instructions", "events"),
    [
        ("start", 0, 2), ("here", 0, 2), ("end", 4, 12), ("instruction", 1, 2), ("exit", 2, 3),
        ("event", 2, 3), ("event copy", 2, 5), ("event ioctl", 2, 9), ("userspace", 2, 6),
        ("device", 2, 8), ("device mmio-nic", 2, 8), ("to 19", 2, 2), ("until rax != 0", 2, 2),
        ("until exits.total == 1", 3, 10),
    ],
)  # fmt: skip
def test_where_each_move_of_one_store_ends(where: str, instructions: int, events: int):
    with session_of("one_store") as session:
        go(session, where)
        assert (session.moment.instructions, session.moment.events) == (instructions, events)


def test_captions_are_worked_out_where_they_are_said():
    with session_of("one_store") as session:
        go(session, "to 19")
        assert filled("rax is {rax:x}, {{rdi}} {rdi}", session) == (
            "rax is 0x12345678, {rdi} 3,489,660,928"
        )
        go(session, "device")
        assert filled("{exits.total} + {copies.bytes}", session) == "1 + 8"
        with pytest.raises(ToyvisorError):
            filled("{exits.nonsense}", session)


def test_a_caption_stands_as_long_as_it_takes_to_read():
    assert reading_time("") == 3.0
    assert reading_time("word " * 28) == 11.5


def test_a_card_with_a_beat_shows_what_was_passed(tmp_path: Path):
    text = '[[step]]\ngo = "event ioctl"\nbeat = 0.2\nsay = "x"\npause = 9\n' + STEP
    with session_of("one_store") as session:
        way, plain = rehearse(session, read_script(written(text, tmp_path)))
        assert [moment.events for moment in way.moments] == [3, 4, 5, 6, 7, 8, 9]
    assert [beat.seconds for beat in beats(way)] == [0.2] * 6 + [9.0]
    assert list(beats(plain)) == [Beat(plain.moments[0], 3.0, True)]


def test_counted_moves_are_shown_one_by_one(tmp_path: Path):
    text = '[[step]]\ngo = "event"\ncount = 4\nbeat = 0.1\n[[step]]\ngo = "event"\ncount = 2'
    with session_of("one_store") as session:
        shown, straight = rehearse(session, read_script(written(text, tmp_path)))
    assert [moment.events for moment in shown.moments] == [3, 4, 5, 6]
    assert [moment.events for moment in straight.moments] == [8]
