"""Protocol sessions with the stub, without a gdb."""

from __future__ import annotations

import pytest
from gdb_kit import COUNTER, client, program_of
from hypothesis import given, settings
from hypothesis import strategies as st

NEXT, DONE = 0x100007, 0x100020  # labels of hello_serial


def hexadecimal(text: str) -> str:
    return text.encode().hex()


# What is there --------------------------------------------------------------------------


def test_a_conversation_begins():
    with client("hello_serial") as gdb:
        offers = gdb.ask("qSupported:multiprocess+;swbreak+;hwbreak+").split(";")
        assert {"PacketSize=4000", "QStartNoAckMode+", "ReverseStep+", "ReverseContinue+"} <= {
            *offers
        }
        assert gdb.ask("vMustReplyEmpty") == ""
        assert gdb.ask("QStartNoAckMode") == "OK"
        assert gdb.ask("Hg0") == gdb.ask("Hc-1") == "OK"
        assert gdb.ask("qC") == "QC1"
        assert (gdb.ask("qfThreadInfo"), gdb.ask("qsThreadInfo")) == ("m1", "l")
        assert gdb.ask("T1") == "OK"
        assert gdb.ask("qAttached") == "1"
        assert gdb.ask("qSymbol::") == "OK"
        assert gdb.ask("vCont?") == "vCont;c;C;s;S;r"
        assert gdb.stop("?") == {
            "signal": "5", "thread": "1", "10": "0000100000000000", "07": "f08f000000000000",
            "06": "0000000000000000",
        }  # fmt: skip


@pytest.mark.parametrize("packet", [
    "", "!", "e", "vRun;", "vAttach;1", "qThreadSuffixSupported", "QThreadSuffixSupported",
    "QNonStop:1", "qTStatus", "qXfer:memory-map:read::0,100", "bx", "R00", "jThreadsInfo",
    "vFile:unlink:61", "qCRC:0,4",
])  # fmt: skip
def test_unknown_packets_are_answered_empty(packet):
    with client("add") as gdb:
        assert gdb.ask(packet) == ""


@pytest.mark.parametrize("packet", [
    "m", "m10", "m-1,4", "m10,0x4", "m 1,4", "mzz,4", "M1000,2:zz", "M1000,2:00",
    "X1000,2:a", "p", "pxyz", "Gxx", "Z0", "Z0,1", "Z0,1,", "z0,zz,1", "vCont;", "vCont;x",
    "vCont;r1", "qRcmd,abc",
    "qXfer:features:read:target.xml:0", "qXfer:features:read:target.xml:fffff,1",
    "vFile:open:zz,0,0", "m" + "f" * 17 + ",1",
])  # fmt: skip
def test_malformed_packets_are_einval(packet):
    with client("add") as gdb:
        assert gdb.ask(packet) == "E16"
        assert gdb.session.at_start


def test_the_description_comes_in_parts():
    with client("add") as gdb:
        whole = gdb.ask("qXfer:features:read:target.xml:0,ffff")
        assert whole[0] == "l"
        first = gdb.ask("qXfer:features:read:target.xml:0,64")
        assert (first[0], len(first)) == ("m", 1 + 0x64)
        assert first[1:] + gdb.ask("qXfer:features:read:target.xml:64,ffff")[1:] == whole[1:]
        assert gdb.ask("qXfer:features:read:other.xml:0,ffff") == "E00"


# Memory ---------------------------------------------------------------------------------


def test_memory_is_read_by_linear_address_up_to_the_first_gap():
    with client("hello_serial") as gdb:
        assert gdb.ask("m100000,7") == "488d351a000000"
        assert gdb.ask("m1fffff,10") == "00"  # RAM ends at 2 MiB
        assert gdb.ask("m200000,1") == gdb.ask("md0000000,4") == "E0e"
        assert gdb.ask("mffffffffffffffff,8") == "E0e"
        assert gdb.ask("m100000,0") == ""
        assert len(gdb.ask("m0,ffffffff")) == 0x4000


def test_writing_memory_is_a_what_if_and_writing_the_same_is_nothing():
    with client("hello_serial") as gdb:
        text = "m100021,5"
        assert gdb.ask(text) == hexadecimal("Hello")
        assert gdb.ask(f"M100021,5:{hexadecimal('Hello')}") == "OK"
        assert gdb.session.branch == 0
        assert gdb.ask(f"M100021,5:{hexadecimal('HELLO')}") == "OK"
        assert (gdb.session.branch, gdb.ask(text)) == (1, hexadecimal("HELLO"))
        assert gdb.ask("X100021,2:ME") == "OK"
        assert gdb.ask("X100021,0:") == "OK"
        gdb.stop("c")
        assert gdb.said.startswith(b"MELLO from long mode\n")
        gdb.monitor("leave")
        gdb.stop("bc")
        gdb.said = b""
        gdb.stop("c")
        assert gdb.said.startswith(b"Hello from long mode\n")


def test_no_memory_there_to_write():
    with client("hello_serial") as gdb:
        assert gdb.ask("Md0000000,1:00") == "E0e"
        assert gdb.session.branch == 0


def test_code_that_gdb_writes_is_executed(tmp_path):
    with client(program_of(tmp_path, "mov al, 1\nmov al, 2\nhlt\n")) as gdb:
        assert gdb.stop("s")["10"] == "0200100000000000"
        assert gdb.ask("M100003,1:07") == "OK"
        gdb.stop("s")
        assert gdb.session.registers().rax == 7


# Moving ---------------------------------------------------------------------------------


def test_a_step_and_a_step_back():
    with client("hello_serial") as gdb:
        assert gdb.stop("s")["10"] == "0700100000000000"
        assert gdb.session.moment.instructions == 1
        assert gdb.stop("vCont;s:1;c")["10"] == "0800100000000000"
        assert gdb.stop("bs")["10"] == "0700100000000000"
        assert "replaylog" not in gdb.stop("bs")
        assert gdb.session.at_start
        assert gdb.stop("bs")["replaylog"] == "begin"


def test_the_end_of_the_run_is_the_end_of_the_history():
    with client("hello_serial") as gdb:
        stop = gdb.stop("c")
        assert (stop["signal"], stop["replaylog"]) == ("5", "end")
        assert gdb.said == (
            b"Hello from long mode\nthe run is over: halted: the guest executed HLT\n"
        )
        assert gdb.stop("s")["replaylog"] == "end"
        assert gdb.stop("bs")["10"] == "2000100000000000"
        assert gdb.stop("bc")["replaylog"] == "begin"


def test_what_is_said_of_the_end_begins_a_line(tmp_path):
    source = "mov al, 'x'\nout 0xe9, al\nhlt\n"
    with client(program_of(tmp_path, source, more='; devices = ["debugcon"]\n')) as gdb:
        gdb.stop("c")
        assert gdb.said == b"x\nthe run is over: halted: the guest executed HLT\n"


def test_the_last_instruction_is_a_step_and_there_is_no_other_behind_it():
    with client("hello_serial") as gdb:
        gdb.session.go_to_instruction(256)
        stop = gdb.stop("s")
        assert (stop["10"], "replaylog" in stop) == ("2100100000000000", False)
        assert gdb.said == b"the run is over: halted: the guest executed HLT\n"
        assert gdb.stop("s")["replaylog"] == "end"


def test_the_console_comes_along_as_it_is_printed():
    with client("hello_serial") as gdb:
        gdb.ask(f"Z0,{NEXT:x},1")
        gdb.stop("c")
        assert gdb.said == b""
        gdb.stop("c")
        gdb.stop("c")
        assert gdb.said == b"He"
        gdb.stop("bc")
        assert gdb.said == b"He"
        gdb.stop("c")
        assert gdb.said == b"Hee"


@pytest.mark.parametrize(("kind", "word"), [(0, "swbreak"), (1, "hwbreak")])
def test_breakpoints_stop_forwards_and_backwards(kind, word):
    with client("hello_serial") as gdb:
        gdb.ask("qSupported:swbreak+;hwbreak+")
        code = gdb.ask("m100000,30")
        assert gdb.ask(f"Z{kind},{NEXT:x},1") == gdb.ask(f"Z{kind},{NEXT:x},1") == "OK"
        assert len(gdb.session.breakpoints) == 1
        moments = []
        for _ in range(3):
            stop = gdb.stop("vCont;c")
            assert (stop["10"], stop[word]) == ("0700100000000000", "")
            moments.append(gdb.session.moment.instructions)
        assert moments == [1, 13, 25]
        assert gdb.ask("m100000,30") == code  # nothing is patched
        assert gdb.stop("bc")[word] == ""
        assert gdb.session.moment.instructions == 13
        assert gdb.ask(f"z{kind},{NEXT:x},1") == gdb.ask(f"z{kind},{NEXT:x},1") == "OK"
        assert gdb.session.breakpoints == []
        assert gdb.stop("bc")["replaylog"] == "begin"


def test_an_old_gdb_is_not_told_what_kind_of_breakpoint_it_was():
    with client("hello_serial") as gdb:
        gdb.ask("qSupported:multiprocess+")
        gdb.ask(f"Z0,{DONE:x},1")
        assert gdb.stop("c").keys() == {"signal", "thread", "10", "07", "06"}


def test_a_watchpoint_stops_behind_the_store_forwards_and_before_it_backwards(tmp_path):
    with client(program_of(tmp_path, COUNTER)) as gdb:
        count = gdb.session.resolve("count")
        value = f"m{count:x},4"
        assert gdb.ask(f"Z2,{count:x},4") == "OK"
        for number in (1, 2, 3):
            assert gdb.stop("c")["watch"] == f"{count:x}"
            assert gdb.ask(value) == f"0{number}000000"
        for number in (2, 1, 0):
            assert gdb.stop("bc")["watch"] == f"{count:x}"
            assert gdb.ask(value) == f"0{number}000000"
            assert gdb.session.linear_rip() == gdb.session.resolve("again")
        assert gdb.stop("bc")["replaylog"] == "begin"


def test_stores_one_behind_the_other_are_all_seen_backwards(tmp_path):
    source = "mov al, 3\nmov [count], al\ninc byte ptr [count]\nhlt\ncount: .byte 0\n"
    with client(program_of(tmp_path, source)) as gdb:
        count = gdb.session.resolve("count")
        gdb.ask(f"Z2,{count:x},1")
        assert [gdb.ask(f"m{count:x},1") for _ in range(3) if gdb.stop("c")] == ["03", "04", "04"]
        assert gdb.session.at_end
        seen = []
        while "watch" in gdb.stop("bc"):
            seen.append((gdb.session.moment.instructions, gdb.ask(f"m{count:x},1")))
        assert seen == [(2, "03"), (1, "00")]


def test_a_step_over_a_store_tells_of_it(tmp_path):
    with client(program_of(tmp_path, "inc byte ptr [count]\nnop\nhlt\ncount: .byte 0\n")) as gdb:
        count = gdb.session.resolve("count")
        gdb.ask(f"Z2,{count:x},1")
        assert gdb.stop("s")["watch"] == f"{count:x}"
        assert "watch" not in gdb.stop("s")
        assert "watch" not in gdb.stop("bs")
        assert gdb.stop("bs")["watch"] == f"{count:x}"


def test_a_watchpoint_and_a_breakpoint_at_one_place(tmp_path):
    """Backwards the breakpoint comes first: it is behind the store."""
    with client(program_of(tmp_path, COUNTER)) as gdb:
        gdb.ask("qSupported:swbreak+")
        count, again = gdb.session.resolve("count"), gdb.session.resolve("again")
        behind = again + 7
        gdb.ask(f"Z2,{count:x},4")
        gdb.ask(f"Z0,{behind:x},1")
        gdb.session.go_to_end()
        assert "swbreak" in gdb.stop("bc")
        assert gdb.session.linear_rip() == behind
        assert gdb.stop("bc")["watch"] == f"{count:x}"
        assert gdb.session.linear_rip() == again
        assert "swbreak" in gdb.stop("bc")


def test_what_can_be_watched():
    with client("hello_serial") as gdb:
        assert gdb.ask("Z2,1ffff0,10") == "OK"
        assert gdb.ask("Z2,1ffff0,11") == gdb.ask("Z2,d0000000,4") == "E0e"  # no RAM
        assert gdb.ask("Z2,100000,0") == gdb.ask("Z2,100000,100000") == "E0e"
        assert gdb.ask("Z3,100000,4") == gdb.ask("Z4,100000,4") == ""  # reads are not seen
        assert gdb.ask("z3,100000,4") == gdb.ask("Z9,100000,4") == ""


def test_a_range_is_stepped_through_to_its_end_or_a_breakpoint():
    with client("hello_serial") as gdb:
        gdb.ask("vCont;r100000,100012:1")
        assert gdb.session.linear_rip() == 0x100012
        gdb.ask("Z0,100015,1")
        gdb.ask("vCont;r100012,100021:1")
        assert gdb.session.linear_rip() == 0x100015
        gdb.ask("z0,100015,1")
        assert "replaylog" not in gdb.stop("vCont;r100000,200000:1")
        assert gdb.session.at_end
        assert gdb.stop("vCont;r100000,200000:1")["replaylog"] == "end"


def test_going_on_elsewhere_is_a_what_if():
    with client("hello_serial") as gdb:
        stop = gdb.stop(f"c{DONE:x}")
        assert (stop["replaylog"], gdb.session.branch) == ("end", 1)
        assert gdb.session.moment.instructions == 1
        assert b"Hello" not in gdb.said


def test_signals_do_not_reach_the_guest():
    with client("hello_serial") as gdb:
        assert gdb.stop("S0b")["10"] == "0700100000000000"
        assert gdb.stop("C05")["replaylog"] == "end"


def test_ctrl_c_stops_a_guest_that_would_run_for_ever():
    with client("spin") as gdb:
        asked = []
        gdb.session.should_stop = lambda: bool(asked.append(1)) or len(asked) > 3
        assert gdb.stop("c")["signal"] == "2"
        assert 0 < gdb.session.moment.instructions < 10_000_000
        asked.clear()
        assert gdb.stop("vCont;r100000,100010:1")["signal"] == "2"
        gdb.session.should_stop = None
        assert gdb.stop("c")["replaylog"] == "end"
        assert gdb.said.endswith(b"after 10,000,000 instructions\n")


def test_a_real_mode_address_is_linear(tmp_path):
    """A far jump to 0100:target. IP is what gdb shows, and CS is not in it."""
    source = ".byte 0xea\n.word target - 0x1000, 0x100\ntarget: mov al, 1\nhlt\n"
    with client(program_of(tmp_path, source, "real")) as gdb:
        gdb.ask("qSupported:swbreak+")
        target = gdb.session.resolve("target")
        gdb.ask(f"Z0,{target:x},1")
        assert "swbreak" in gdb.stop("c")
        assert (gdb.register("cs"), gdb.register("eip")) == (0x100, target - 0x1000)
        assert gdb.ask(f"m{target:x},2") == "b001"


# Leaving --------------------------------------------------------------------------------


def test_detaching_and_killing():
    for packet, answer in (("D", b"OK"), ("D;1", b"OK"), ("vKill;1", b"OK"), ("k", None)):
        with client("add") as gdb:
            gdb.ask("Z0,1003,1")
            assert gdb.stub.answer(packet.encode()) == answer
            assert gdb.stub.is_over
            gdb.stub.leave()
            assert gdb.session.breakpoints == []


# The symbol file, as gdb reads it -------------------------------------------------------


def test_the_symbol_file_is_read_over_the_connection():
    with client("add") as gdb:
        path = gdb.ask("qXfer:exec-file:read::0,1000")[1:]
        assert path == "/toyvisor/add.elf"
        assert gdb.ask("vFile:setfs:0") == "F0"
        assert gdb.ask(f"vFile:open:{hexadecimal('/etc/passwd')},0,0") == "F-1,2"
        assert gdb.ask(f"vFile:open:{hexadecimal(path)},1,0") == "F-1,d"
        assert gdb.ask("vFile:pread:3,10,0") == gdb.ask("vFile:fstat:3") == "F-1,9"
        assert gdb.ask(f"vFile:open:{hexadecimal(path)},0,0") == "F3"
        assert gdb.ask("vFile:pread:3,4,0") == "F4;\x7fELF"
        assert gdb.ask("vFile:pread:3,10,fffff") == "F0;"
        stat = gdb.ask("vFile:fstat:3")
        assert (stat[:4], len(stat)) == ("F40;", 4 + 64)
        assert gdb.ask("vFile:close:3") == "F0"
        assert gdb.ask("vFile:close:3") == "F-1,9"


# Anything at all ------------------------------------------------------------------------

PIECES = (
    "m", "M", "X", "Z0", "Z2", "z0", "z2", "P", "p", "g", "G", "bs", "s", "vCont;", "vFile:",
    "pread:", "open:", "qXfer:", "features", ":read:", "target.xml", "qRcmd,", "?", ",", ":", ";",
    "=", "0", "4", "1000", "1003", "ffffffffffffffff", "zz", hexadecimal("goto event 3"), "H", "T",
    "\x00", "é",
)  # fmt: skip


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=7).map("".join), max_size=8))
def test_no_packet_is_an_accident(packets):
    with client("add") as gdb:
        for packet in packets:
            gdb.stub.answer(packet.encode("latin-1"))
        gdb.stub.leave()
        assert gdb.ask("?").startswith("T05")
