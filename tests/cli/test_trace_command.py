"""`toyvisor trace`: a kept stream, or a program's, as text or as JSON lines."""

from __future__ import annotations

import json

import pytest
from asking import PROGRAMS

LIMIT = ("--max-instructions", "200000")


@pytest.mark.parametrize("program", [p for p in PROGRAMS if p not in ("spin", "mmio_nic_tx")])
def test_there_and_back(toyvisor, folder, program):
    toyvisor("run", program, "--trace", "run.jsonl", *LIMIT)
    kept = (folder / "run.jsonl").read_bytes()
    assert kept
    assert toyvisor("trace", "run.jsonl", "--to", "jsonl").output == kept
    assert toyvisor("trace", program, "--to", "jsonl").output == kept
    text = toyvisor("trace", "run.jsonl")
    assert text.status == 0
    assert text.output == toyvisor("trace", program, "--to", "text").output
    assert len(text.lines) == kept.count(b"\n")
    assert not any(line != line.rstrip() for line in text.lines)


def test_output_into_a_file(toyvisor, folder):
    answer = toyvisor("trace", "add", "-o", "add.txt")
    assert (answer.status, answer.output) == (0, b"")
    assert (folder / "add.txt").read_bytes() == toyvisor("trace", "add").output


def test_a_stream_is_known_by_its_first_character_too(toyvisor, folder):
    toyvisor("run", "add", "--trace", "plain")
    assert toyvisor("trace", "plain").output == toyvisor("trace", "add").output


def test_events_are_numbered_and_time_goes_on(toyvisor):
    answer = toyvisor("trace", "hello_serial", "--to", "jsonl")
    events = [json.loads(line) for line in answer.lines]
    assert [event["seq"] for event in events] == list(range(len(events)))
    clocks = [event["clock"] for event in events]
    assert clocks == sorted(clocks)


def test_the_status_is_the_run_s(toyvisor):
    assert toyvisor("trace", "triple_fault").status == 1
    answer = toyvisor("trace", "spin")
    assert answer.status == 124
    assert ": budget: " in answer.complaint


EVENT = {"seq": 1, "clock": 2, "layer": "KVM", "thread": "VCPU", "event": "vm_exit"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x", "bad.jsonl:2: not JSON"),
        ("[1]", "bad.jsonl:2: not an event: no object"),
        ("17", "not an event: no object"),
        ('{"seq": 1}', "not an event: no clock, layer, thread, event"),
        (json.dumps({**EVENT, "seq": "1"}), "seq is not a whole number"),
        (json.dumps({**EVENT, "seq": True}), "seq is not a whole number"),
        (json.dumps({**EVENT, "clock": 1.5}), "clock is not a whole number"),
        (json.dumps({**EVENT, "layer": []}), "layer is not a text"),
        (json.dumps({**EVENT, "event": None}), "event is not a text"),
        ("[" * 100_000, "too deeply nested"),
        ('{"seq": ' + "9" * 5000 + "}", "not JSON"),
    ],
    ids=lambda value: value[:20],
)
@pytest.mark.parametrize("form", ["text", "jsonl"])
def test_a_stream_with_a_bad_line(toyvisor, folder, line, words, form):
    (folder / "bad.jsonl").write_text(f"{json.dumps(EVENT)}\n{line}\n")
    answer = toyvisor("trace", "bad.jsonl", "--to", form)
    assert answer.status == 2
    assert words in answer.complaint
    assert len(answer.lines) == 1, "what is good before it is shown"


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "vm_exit"},
        {"event": "vm_exit", "reason": [], "rip": "x", "address": {}},
        {"event": "kvm_userspace_exit", "reason": {}},
        {"event": "copy", "hop": None, "bytes": None},
        {"event": "not of ours", "colour": "blue\u2028"},
        {"event": ""},
    ],
)
def test_events_that_somebody_else_wrote(toyvisor, folder, fields):
    line = json.dumps({**EVENT, **fields}, ensure_ascii=False)
    (folder / "other.jsonl").write_text(line, encoding="utf-8")
    answer = toyvisor("trace", "other.jsonl")
    assert answer.status == 0
    assert answer.text.startswith("     1        2 KVM ")
    assert toyvisor("trace", "other.jsonl", "--to", "jsonl").status == 0


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe", b"\0"])
def test_streams_of_nothing_and_of_bytes(toyvisor, folder, content):
    (folder / "odd.jsonl").write_bytes(content)
    answer = toyvisor("trace", "odd.jsonl")
    assert answer.status == (0 if not content.strip() else 2)
    assert not answer.output
    assert answer.errors.count("\n") == (answer.status == 2)
