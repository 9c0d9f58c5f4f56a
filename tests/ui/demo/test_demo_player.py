"""Playing: hands-free to the end, or as somebody at the keys wants it."""

from __future__ import annotations

from demo_kit import Plan, Stage, session_of

from toyvisor.debug.session import Session
from toyvisor.ui.demo.cards import Card, rehearse
from toyvisor.ui.demo.player import END_KEYS, Player
from toyvisor.ui.demo.script import Script, ScriptStep

#: Three cards of 1 second; the second passes four events.
STEPS = (
    ScriptStep("start", "one", pause=1.0),
    ScriptStep("event", "two", 4, beat=0.25, pause=1.0),
    ScriptStep("end", "three", pause=1.0),
)


def show(session: Session) -> tuple[Card, ...]:
    return rehearse(session, Script("test", "", "", STEPS))


def played(keys: Plan, speed: float = 1.0, stage: Stage | None = None) -> Stage:
    stage = stage or Stage()
    with session_of("one_store") as session:
        Player(session, show(session), "title", stage, keys, speed=speed).play()
    return stage


def test_hands_free_it_plays_to_the_end_and_ends():
    keys = Plan(can_press=False)
    stage = played(keys)
    assert stage.numbers == [1, 2, 2, 2, 2, 3]
    assert [frame.caption for frame in stage.frames] == ["one", *["two"] * 4, "three"]
    assert sum(keys.waited) == 1.0 + 3 * 0.25 + 1.0 + 1.0
    assert {frame.state for frame in stage.frames} == {"▶"}


def test_twice_as_fast_takes_half_the_time():
    keys = Plan(can_press=False)
    played(keys, speed=2.0)
    assert sum(keys.waited) == (1.0 + 3 * 0.25 + 1.0 + 1.0) / 2


def test_the_scenes_are_those_of_the_moments():
    stage = played(Plan(can_press=False))
    labels = [
        frame.scene.path.hops[frame.scene.path.current].kind
        for frame in stage.frames
        if frame.scene.path is not None
    ]
    assert labels == [
        "vm_entry", "vm_exit", "kvm_mmio", "copy", "kvm_userspace_exit", "kvm_userspace_exit",
    ]  # fmt: skip


def test_with_somebody_there_the_last_picture_stays():
    stage = played(Plan(*[""] * 20, "q"))
    assert stage.frames[-1].state == "the end"
    assert stage.frames[-1].keys == END_KEYS
    assert stage.frames[-1].caption == "three"


def test_next_and_previous():
    """Left shows the card before as it was at its end; the last card is there twice: it stays."""
    stage = played(Plan("right", "left", "right", "right", "right", "right", "left", "q"))
    assert stage.numbers == [1, 2, 1, 2, 2, 3, 3, 2]
    at_two = [frame for frame in stage.frames if frame.number == 2]
    assert at_two[0].scene.counters.copy_count == 0
    assert at_two[-1].scene.counters.copy_count == 1


def test_right_in_the_middle_of_a_way_goes_to_its_end_first():
    stage = played(Plan("right", "right", "q"))
    assert stage.numbers == [1, 2, 2]
    assert stage.frames[-1].scene.path.current == 3


def test_space_stops_the_time():
    keys = Plan("space", "", "", "", "", "", "space", "right", "q")
    stage = played(keys)
    assert [frame.state for frame in stage.frames] == ["▶", "paused", "▶", "▶"]
    assert stage.numbers == [1, 1, 1, 2]


def test_left_at_the_first_card_stays_there():
    assert played(Plan("left", "left", "q")).numbers == [1, 1, 1]


def test_leaving_at_once():
    assert played(Plan("q")).numbers == [1]


def test_another_size_is_drawn_at_once():
    stage = Stage()
    stage.changes = 1
    played(Plan("", "q"), stage=stage)
    assert stage.numbers == [1, 1]
