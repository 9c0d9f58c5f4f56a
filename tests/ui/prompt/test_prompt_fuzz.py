"""Any line at all: an answer or one error, and the session stands where its moment says."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prompt_kit import Told
from sessions import fingerprint, session

from toyvisor.ui.prompt.commands import COMMANDS
from toyvisor.ui.prompt.completion import candidates
from toyvisor.ui.prompt.topics import TOPICS

#: Ends soon, whatever is done to it.
BUDGET = 2_000
PROGRAMS = ("hello_serial", "virtio_net_tx", "timer_tick", "timer_tick_real", "triple_fault")
WORDS = st.sampled_from(
    [name for command in COMMANDS for name in command.names]
    + [name for topic in TOPICS for name in topic.names]
    + ["0", "1", "2", "3", "-1", "7K", "0x100000", "0xffffffffffffffff", "99999999999999999999",
       "rax", "$rip", "eax", "zf", "exits.mmio", "tx.used.idx", "virtio_net.Status", "_start",
       "text", "next", "hello_serial.s:20", "pic.inc:3", "12", "event", "start", "end", "all",
       "if", "==", "=", "+", "*", "(", ")", "[", "]", "u8[rsp]", "u32[rdi]", "[rsi]:4", "/x",
       "/4gx", "/3i", "/s", "/c", "serial", "virtio-net", "tx", "rx", "here", "checkpoint", "#",
       "'", '"', "/", "\0", "\x1b[2J", "é"]
)  # fmt: skip
LINES = st.one_of(
    st.lists(WORDS, min_size=1, max_size=5).map(" ".join),
    st.tuples(WORDS, WORDS).map("".join),
    st.text(max_size=30),
    st.just(""),
)
fuzzed = settings(
    max_examples=120, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
@fuzzed
@given(st.lists(LINES, max_size=12))
def test_any_lines(program, lines):
    with session(program, budget=BUDGET) as walked:
        told = Told(walked)
        for line in lines:
            said = told(line)
            assert all(text.isprintable() for text in said), (line, said)
            assert walked.start <= walked.moment
            if told.prompt.is_over:
                break
        if walked.branch == 0 and walked.stop.reason != "full":
            moment, seen = walked.moment, fingerprint(walked.machine)
            with session(program, budget=BUDGET) as fresh:
                fresh.go_to_end()
                fresh.go_to(moment)
                assert fresh.moment == moment
                assert fingerprint(fresh.machine) == seen


@fuzzed
@given(st.text(max_size=20), st.text(max_size=5))
def test_any_line_can_be_completed(before, word):
    with session("virtio_net_tx", budget=BUDGET) as walked:
        found = candidates(Told(walked).prompt.desk, before, word)
        assert all(name.lower().startswith(word.lower()) for name in found)
        assert found == sorted(set(found))
