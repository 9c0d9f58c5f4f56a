"""Breakpoints, watchpoints, and changes to the guest."""

from __future__ import annotations

import pytest
from prompt_kit import Told
from sessions import session, session_of

LOOP = """\
        mov     ecx, 5
again:  dec     ecx
        mov     [0x20000], ecx
        jnz     again
        hlt"""


@pytest.fixture
def loop(tmp_path):
    with session_of(LOOP, tmp_path, block='mode = "long"') as walked:
        yield Told(walked)


def test_a_breakpoint_by_each_kind_of_place(loop):
    line = "0x100005 <again> guest.s:5"
    assert loop("b again") == [f"breakpoint 1: {line}"]
    assert loop("break 5") == [f"breakpoint 2: {line}"]
    assert loop("b guest.s:5") == [f"breakpoint 3: {line}"]
    assert loop("b 0x100005") == [f"breakpoint 4: {line}"]
    assert loop("b again+2") == ["breakpoint 5: 0x100007 <again+0x2> guest.s:6"]
    assert loop("b") == ["breakpoint 6: 0x100000 guest.s:4"]
    assert loop("b nosuch")[0].startswith("error: there is no label 'nosuch'")


def test_conditions_counts_and_switches(loop):
    assert loop("b again if ecx == 3") == ["breakpoint 1: 0x100005 <again> guest.s:5, if ecx == 3"]
    assert loop("c")[:2] == ["#7 event 1  guest.s:5  again: dec ecx", "  breakpoint 1: again"]
    assert loop("p ecx") == ["3"]
    assert loop("condition 1")[0].startswith("breakpoint 1: 0x100005 <again> guest.s:5, hit once")
    assert loop("ignore 1 1")[0].endswith("ignored 1 more times, hit once")
    loop("c")
    assert loop("p ecx") == ["1"]
    loop("disable 1")
    assert loop("info b")[0].endswith(", disabled, hit 2 times")
    assert loop("c")[1] == "  the run is over: halted: the guest executed HLT"
    loop("enable")
    loop("rc")
    assert loop("p ecx") == ["1"]
    assert loop("delete") == ["deleted breakpoint 1: again"]
    assert loop("info breakpoints") == ["no breakpoints"]


def test_a_temporary_breakpoint_is_gone_after_its_stop(loop):
    assert loop("tb again") == ["breakpoint 1: 0x100005 <again> guest.s:5, once"]
    assert loop.first("c").startswith("#1 ")
    assert loop("info b") == ["no breakpoints"]


def test_continue_to_the_third_stop(loop):
    loop("b again")
    assert loop.first("c 3").startswith("#7 ")
    assert loop.first("rc 2").startswith("#1 ")


def test_watching_memory_and_values(loop):
    assert loop("watch 0x20000:4") == ["watchpoint 1: 4 bytes at 0x20000 (0x20000:4)"]
    assert loop("c")[1] == "  watchpoint 1: 0x20000:4: 00 00 00 00 -> 04 00 00 00"
    loop("delete 1")
    loop("watch ecx if ecx < 3")
    assert loop("c")[1] == "  value watchpoint 2: ecx: 0x3 -> 0x2"
    assert loop("watch nosuch")[0] == "error: 'nosuch' is no label, register or counter"
    assert loop("watch")[0].startswith("error: WHAT is missing")


def test_watching_a_ring_from_before_it_is_there():
    with session("virtio_net_tx") as walked:
        told = Told(walked)
        told("watch tx.used.idx", "c")
        assert told("info packets")[0] == "sent: 1 packet"
        told("c")
        assert told("p tx.used.idx") == ["2"]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("delete 9", "there is no breakpoint 9 (hint: there is 1)"),
        ("delete x", "there is no breakpoint x (hint: there is 1)"),
        ("condition", "NUMBER is missing (hint: `info breakpoints` lists them)"),
        ("condition 1 ecx ==", "expected a value, found the end"),
        ("b again if", None),
        ("b again if nosuch", "'nosuch' is no label, register or counter"),
        ("enable 1 2", "there is no breakpoint 2 (hint: there is 1)"),
    ],
)
def test_mistakes_leave_the_breakpoints_alone(loop, line, error):
    loop("b again if ecx == 1")
    before = loop("info b")
    said = loop.first(line)
    assert said == f"error: {error}" if error else said.startswith("error: ")
    assert loop("info b") == before


# What if ----------------------------------------------------------------------------------


def test_another_value_is_another_run_that_can_be_left(loop):
    loop("run-to again")
    assert loop("set ecx = 1") == [
        "#1 event 1 branch 1  guest.s:5  again: dec ecx", "  ecx = 0x1",
    ]  # fmt: skip
    assert loop.first("c").startswith("#5 event 3 branch 1 ")
    assert loop("leave") == ["#1 event 1  guest.s:5  again: dec ecx", "  the change is undone"]
    assert loop.first("c").startswith("#17 event 3  ")


@pytest.mark.parametrize(
    ("line", "shown", "value"),
    [
        ("set rax = 0x1122334455667788", "p/x rax", "0x1122334455667788"),
        ("set $rax = -1", "p/x rax", "0xffffffffffffffff"),
        ("set al = -1", "p/x rax", "0xff"),
        ("set ah = 3", "p/x rax", "0x300"),
        ("set zf = 1", "info r rflags", "rflags  0x0000000000000042  66"),
        ("set rip = again", "where", "#0 event 1 branch 1  guest.s:5  again: dec ecx"),
        ("set u32[0x20000] = 0x01020304", "x/4bx 0x20000", "0x20000:  0x04  0x03  0x02  0x01"),
        ("set word ptr [0x20000] = 5 == 5", "p u16[0x20000]", "1"),
        ("set [0x20000] = 7", "p [0x20000]", "7"),
        ("set [0x20000]:2 = 0xffff", "p/x u32[0x20000]", "0xffff"),
        ("set s8[0x20000] = signed(-3)", "p s8[0x20000]", "-3 (0xfffffffffffffffd)"),
    ],
)
def test_what_can_be_set(loop, line, shown, value):
    loop(line)
    assert loop.first(shown) == value


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("set al = 256", "al has 8 bits; 0x100 does not fit"),
        ("set al = -200", "al has 8 bits; 0xffffffffffffff38 does not fit"),
        ("set zf = 2", "zf has 1 bits; 0x2 does not fit"),
        ("set cr0 = 1", "cr0 can't be changed here (hint: general registers and flags can)"),
        ("set u8[0x20000] = 300", "u8[0x20000] has 8 bits; 0x12c does not fit"),
        ("set u8[0x7fffffff] = 3", "1 bytes at 0x7fffffff are not wholly inside the guest's RAM"),
        ("set foo = 3", "'foo' is neither a register nor memory (hint: set rax = 5, set zf = 1, "
                        "set u32[buffer] = 7)"),
        ("set rax", "set what to what? (hint: set rax = 5, set zf = 1, set u32[buffer] = 7)"),
        ("leave", "this is the original run: nothing was changed"),
    ],
)  # fmt: skip
def test_what_can_not_be_set(loop, line, error):
    assert loop(line) == [f"error: {error}"]
    assert loop.session.branch == 0


def test_checkpoints_of_a_branch_that_was_left_are_gone(loop):
    loop("checkpoint before", "si 2", "set ecx = 9", "si", "checkpoint inside")
    assert loop.first("restart before").startswith("#0 event 1  ")  # leaves the branch
    assert loop.session.branch == 0
    assert loop("restart inside") == [
        "error: the branch of checkpoint inside was left, and is gone"
    ]
    assert loop("info checkpoints") == [
        "before: #0 event 1", "inside: #3 event 1, in a branch that was left",
    ]  # fmt: skip


def test_checkpoints_inside_a_branch(loop):
    loop("si 2", "set ecx = 9", "si", "checkpoint inside", "c")
    assert loop.first("restart inside").startswith("#3 event 1 branch 1 ")
