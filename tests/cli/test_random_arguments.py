"""Any arguments at all: a status of the documented ones, and never a traceback."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

import pytest
from asking import BROKEN, HALT, ORDINARY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toyvisor.cli import main

QUICK = ("run", "asm", "disasm", "programs", "trace", "completion", "step", "", "run ")
WORDS = (
    *QUICK, "--json", "--trace", "--net", "--max-instructions", "--accel", "toy", "kvm", "both",
    "--max-seconds", "-o",
    "--listing", "--mode", "real", "protected", "long", "--origin", "0x7c00", "--to", "text",
    "jsonl", "ftrace", "perfetto", "kvm-stat", "pcap", "--costs",
    "--version", "--help", "-h", "--", "-", "bash", "add", "hello_serial", "one_store",
    "triple_fault", "virtio_net_tx", "good.s", "bad.s", "folder", "stream.jsonl", "out", "out/x",
    f"pcap:{ORDINARY},", "pcap:,out.pcap", "pcap:in,", "pcap:", "1", "0", "-1", "1000", "1e9",
    *map(str, BROKEN),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def some_files():
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        Path("folder").mkdir()
        Path("good.s").write_text(HALT)
        Path("bad.s").write_text(HALT + "mov\n")
        Path("stream.jsonl").write_text("{}\n")
        yield


def call(arguments: list[str]) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    err = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    assert status in (0, 1, 2, 124), (status, err.getvalue())
    assert "Traceback" not in err.getvalue()
    assert status == 0 or err.getvalue()


quickly = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@quickly
@given(
    st.sampled_from(QUICK),
    st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=8)), max_size=6),
)
def test_words_in_any_order(command, words):
    call([command, *words])


@quickly
@given(st.lists(st.text(max_size=12), max_size=4))
def test_texts_of_any_kind(words):
    if not words or words[0] not in ("bench", "compare", "doctor"):
        call(words)


@quickly
@given(st.binary(max_size=200), st.sampled_from(["run", "asm", "disasm", "trace", "programs"]))
def test_files_of_any_content(content, command):
    for name in ("any.s", "any.jsonl", "any.bin"):
        Path(name).write_bytes(content)
        call([command, name])
