"""The virtqueue on paper: chains as arrows, owners, what changed, rings that go round."""

from __future__ import annotations

import pytest
from stepper_kit import make_session

from toyvisor.debug.moment import Unit
from toyvisor.ui.stepper.camera import Camera
from toyvisor.ui.stepper.picture import Picture, Wishes
from toyvisor.ui.stepper.queues_pane import QueuesPane
from toyvisor.ui.stepper.rows import Role


def drawn(picture: Picture, width: int = 79) -> list[str]:
    return [row.text.rstrip() for row in QueuesPane("queues").build(picture, width)]


@pytest.fixture
def sending():
    session = make_session("virtio_net_tx")()
    yield session, Camera(session)
    session.close()


def test_a_packet_goes_through_the_queue(sending) -> None:
    session, camera = sending
    assert drawn(camera.take(Wishes()))[0] == "QueueReady is 0"
    session.run_to("next_frame")
    camera.take(Wishes())
    seen = []
    for _ in range(40):
        session.step(Unit.EVENT) if session.moment.instructions > 106 else session.step()
        line = drawn(camera.take(Wishes()))[1]
        if not seen or line != seen[-1]:
            seen.append(line)
    assert seen[:7] == [
        "given 0 ▸ taken 0 ▸ given back 0 ▸ seen 0",
        "given 1* ▸ taken 0 ▸ given back 0 ▸ seen 0",
        "given 1 ▸ taken 0 ▸ given back 0 ▸ seen 0",
        "given 1 ▸ taken 1* ▸ given back 0 ▸ seen 0",
        "given 1 ▸ taken 1 ▸ given back 0 ▸ seen 0",
        "given 1 ▸ taken 1 ▸ given back 1* ▸ seen ~0",
        "given 1 ▸ taken 1 ▸ given back 1 ▸ seen ~0",
    ]


def test_the_three_tables_side_by_side(sending) -> None:
    session, camera = sending
    session.step(Unit.EXIT, 28)
    assert drawn(camera.take(Wishes()))[2:8] == [
        "descriptors (driver writes)          avail.idx 1        used.idx 0",
        "  0┌ 001001c0    12 NEXT       →1  A NO_INTERRUPT         0: -  ◀drv dev",
        "  1└ 001ffea0   342                A   0: 0 A ◀dev        1-7 not used yet",
        "  2-7 never used                       1: -  ◀drv",
        "                                       2-7 not used yet",
        "buffers under way",
    ]


def test_in_a_narrow_pane_the_rings_come_first(sending) -> None:
    session, camera = sending
    session.step(Unit.EXIT, 28)
    rows = drawn(camera.take(Wishes()), 50)
    assert rows.index("descriptors (driver writes)") > next(
        n for n, row in enumerate(rows) if row.startswith("avail.idx 1")
    )
    assert not [row for row in rows if len(row) > 50]


def test_the_owner_that_changed_has_a_mark_and_a_colour(sending) -> None:
    session, camera = sending
    session.step(Unit.EXIT, 28)
    camera.take(Wishes())
    session.step(Unit.EVENT, 7)
    rows = QueuesPane("queues").build(camera.take(Wishes()), 79)
    row = next(row for row in rows if row.text.startswith("  0┌"))
    assert "I*" in [span.text for span in row.spans if span.role is Role.CHANGED]


def test_a_long_ring_shows_what_matters() -> None:
    session = make_session("virtio_net_rx")()
    session.step(Unit.EXIT, 81)
    rows = drawn(Camera(session).take(Wishes(queue=("virtio-net", 0))))
    text = "\n".join(rows)
    assert len(rows) < 40, "64 descriptors and 64 slots twice do not fit"
    assert "◀drv dev" in text
    assert "not used yet" in text
    assert "0-9 available, not yet taken" in text
    session.close()


def test_a_machine_without_virtio_says_so() -> None:
    session = make_session("add")()
    assert drawn(Camera(session).take(Wishes())) == ["this machine has no virtio device"]
    session.close()
