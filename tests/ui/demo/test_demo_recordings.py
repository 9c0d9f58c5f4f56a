"""Recordings of a show: asciicast, drawing, text and page; the same each time."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from demo_kit import script, session_for, session_of

from toyvisor.debug.moment import Unit
from toyvisor.errors import InputError, UsageError
from toyvisor.ui.demo.cards import beats, rehearse
from toyvisor.ui.demo.plain import blocks
from toyvisor.ui.demo.recording import KINDS, kind_of, record_run

#: Cursor to a row; all attributes off; this line empty: then comes the line.
LINE = re.compile(r"\x1b\[(\d+);1H\x1b\[0m\x1b\[2K")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def cast(name: str, path: Path, **options) -> tuple[dict, list[list]]:
    of = script(name)
    with session_for(of) as session:
        record_run(session, str(path), cards=rehearse(session, of), title=of.title, **options)
    header, *events = map(json.loads, path.read_text().splitlines())
    return header, events


def test_an_asciicast_has_a_marker_for_each_card_and_times_that_go_on(tmp_path: Path):
    header, events = cast("one_store", tmp_path / "show.cast", size=(80, 24))
    assert header == {
        "version": 2, "width": 80, "height": 24, "title": "The life of one store to a device",
        "env": {"TERM": "xterm-256color"},
    }  # fmt: skip
    times = [event[0] for event in events]
    assert times == sorted(times)
    markers = [event for event in events if event[1] == "m"]
    assert [marker[2].partition(":")[0] for marker in markers] == [str(n) for n in range(1, 14)]
    assert {event[1] for event in events} == {"o", "m"}


def test_its_times_are_those_of_the_cards(tmp_path: Path):
    of = script("virtio_net_vhost")
    with session_for(of) as session:
        cards = rehearse(session, of)
        record_run(session, str(tmp_path / "show.cast"), cards=cards)
    events = [json.loads(line) for line in (tmp_path / "show.cast").read_text().splitlines()[1:]]
    seconds = sum(beat.seconds for card in cards for beat in beats(card))
    assert events[-1][0] == pytest.approx(seconds)
    frames = [event for event in events if event[1] == "o"]
    assert len(frames) == sum(len(card.moments) for card in cards) + 2


def test_played_it_is_the_screen(tmp_path: Path):
    """A terminal that knows nothing but the three sequences of LINE shows each frame whole."""
    header, events = cast("one_store", tmp_path / "show.cast", size=(80, 24))
    rows = [""] * header["height"]
    shown = []
    for _, kind, data in events[:-1]:
        if kind == "m":
            shown.append("\n".join(rows))
            continue
        parts = LINE.split(data)
        for row, line in zip(parts[1::2], parts[2::2], strict=True):
            rows[int(row) - 1] = ESCAPES.sub("", line)
            assert len(rows[int(row) - 1]) <= 80
    shown.append("\n".join(rows))
    assert "▣ 4 bytes in kvm_run.mmio.data" in shown[6] or "▣ kvm_run" in shown[6]
    assert "2 exits, 2 to QEMU, 2 copies (8 bytes), 0 interrupts" in shown[13]
    assert "13/13" in shown[13].splitlines()[0]


@pytest.mark.parametrize("suffix", [".cast", ".svg", ".txt", ".html"])
def test_the_same_show_is_the_same_file(suffix: str, tmp_path: Path, monkeypatch):
    paths = [tmp_path / f"{name}{suffix}" for name in ("one", "other")]
    for path, environment in zip(paths, ({}, {"NO_COLOR": "1", "COLUMNS": "40"}), strict=True):
        for name, text in environment.items():
            monkeypatch.setenv(name, text)
        with session_of("virtio_net_tx") as session:
            record_run(session, str(path))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_drawing_stands_alone_and_is_the_moment(tmp_path: Path):
    path = tmp_path / "picture.svg"
    with session_of("one_store") as session:
        session.step(Unit.EVENT, 3)
        record_run(session, str(path), size=(80, 24), title="a < b & {c}")
    text = path.read_text()
    root = ElementTree.fromstring(text)
    assert root.find("{http://www.w3.org/2000/svg}title").text == "a < b & {c}"
    assert set(re.findall(r"https?://[^\"]*", text)) == {"http://www.w3.org/2000/svg"}
    assert "url(#" in text
    assert "@font-face" not in text
    words = " ".join(root.itertext()).replace("\xa0", " ")
    assert "4 bytes are copied: guest->kvm" in words


def test_text_has_every_card_with_its_events(tmp_path: Path):
    path = tmp_path / "show.txt"
    with session_of("one_store") as session:
        record_run(session, str(path))
    lines = path.read_text().splitlines()
    assert lines[0] == "one_store: the life of one store to a device"
    assert [line[:5] for line in lines if line.startswith("[")] == [f"[{n}/6]" for n in range(1, 7)]
    assert "         4        2 KVM   copy: guest->kvm 4 bytes" in lines
    assert max(map(len, lines)) <= 100


def test_a_card_with_many_events_counts_those_it_leaves_out():
    of = script("mmio_nic_tx")
    with session_for(of) as session:
        last = list(blocks(session, rehearse(session, of)))[-1][0]
    assert "(22.6k events before these)" in last[2]
    assert sum(" GUEST " in line or " KVM " in line or " QEMU " in line for line in last) == 12


def test_a_page_is_the_page(tmp_path: Path):
    path = tmp_path / "run.html"
    with session_of("one_store") as session:
        record_run(session, str(path))
    assert path.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("suffix", KINDS)
def test_the_session_stands_where_it_stood(suffix: str, tmp_path: Path):
    with session_of("one_load") as session:
        session.step(Unit.EVENT, 4)
        moment, stop = session.moment, session.stop
        record_run(session, str(tmp_path / f"x{suffix}"))
        assert (session.moment, session.stop) == (moment, stop)


@pytest.mark.parametrize("name", ["x.mp4", "x", "-", "", ".html"])
def test_a_name_that_says_nothing_is_refused(name: str):
    with pytest.raises(UsageError) as caught:
        kind_of(name)
    assert ".cast: for asciinema" in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path):
    with session_of("one_store") as session, pytest.raises(InputError, match="can't write"):
        record_run(session, str(tmp_path / "no" / "x.cast"))
