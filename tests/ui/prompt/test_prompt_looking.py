"""Commands that show: values, memory, source, and all that `info` knows."""

from __future__ import annotations

import pytest
from prompt_kit import Told
from sessions import session, session_of

from toyvisor.ui.prompt.examining import Request, parse_format
from toyvisor.ui.prompt.topics import TOPICS

DATA = """\
        lea     rsi, [rip + text]
        mov     eax, 0xfffffff6
        cmp     eax, eax
        hlt
text:   .asciz  "one\\ttwo\\"\\\\"
words:  .word   0x1234, 0xffff, 7
        .long   0x80000000"""


@pytest.fixture
def data(tmp_path):
    with session_of(DATA, tmp_path, block='mode = "long"') as walked:
        told = Told(walked)
        told("si 3")
        yield told


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("p eax", "0xfffffff6 (4294967286)"),
        ("print 3", "3"),
        ("p signed(eax)", "-10 (0xfffffffffffffff6)"),
        ("p/x eax", "0xfffffff6"),
        ("p/z 5", "0x0000000000000005"),
        ("p/d 0 - 1", "-1"),
        ("p/u 0 - 1", "18446744073709551615"),
        ("p/t 6", "0b110"),
        ("p/o 8", "0o10"),
        ("p/c 65", "65 'A'"),
        ("p/c 200", r"-56 '\xc8'"),
        ("p/a words + 2", "0x10001b <words+0x2>"),
        ("p /x 255", "0xff"),
        ("p zf and u16[words] == 0x1234", "1"),
        ("info symbol text", "0x10000f <text>"),
    ],
)
def test_printing(data, line, answer):
    assert data(line) == [answer]


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("", Request(1, "x", 8)), ("4gx", Request(4, "x", 8)), ("4xg", Request(4, "x", 8)),
        ("3i", Request(3, "i", 8)), ("bx", Request(1, "x", 1)), ("2h", Request(2, "x", 2)),
        ("s", Request(1, "s", 8)), ("c", Request(1, "c", 1)), ("wd", Request(1, "d", 4)),
    ],
)  # fmt: skip
def test_formats_of_x(text, request_):
    assert parse_format(text) == request_


@pytest.mark.parametrize("text", ["q", "xx", "bw", "4 x", "x4", "-1x", "0x", "99999999999x"])
def test_no_formats_of_x(data, text):
    assert data.first(f"x/{text} rip").startswith("error: ")


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("x/3hx words", ["0x100019 <words>:  0x1234  0xffff  0x0007"]),
        ("x/2hd words", ["0x100019 <words>:  4660  -1"]),
        ("x/wu words + 6", ["0x10001f <words+0x6>:  2147483648"]),
        ("x/8ht words", None),
        ("x/2c text", ["0x10000f <text>:  111 'o'  110 'n'"]),
        ("x/s text", [r'0x10000f <text>:  "one\ttwo\"\\"']),
        ("x/2i _start", ["0x100000 <_start>:  lea rsi, [rip + 8]"]),
        ("xp/2bx 0x100000", ["0x100000:  0x48  0x8d"]),
        ("x/2bx 0x1fffff", ["0x1fffff:  0x00",
                             "error: there is no memory at linear address 0x200000"]),
        ("xp/i 0", ["error: instructions are found by linear address (hint: x/i)"]),
        ("x", ["error: ADDRESS is missing (hint: x/4gx rsp, x/s message, x/3i rip)"]),
    ],
)  # fmt: skip
def test_memory(tmp_path, line, answer):
    source = f"_start:\n{DATA}"
    with session_of(source, tmp_path, block='mode = "long"') as walked:
        said = Told(walked)(line)
        assert said[: len(answer)] == answer if answer else len(said) == 1


def test_x_goes_on_where_it_ended(data):
    data("x/2bx text")
    assert data("") == ["0x100011 <text+0x2>:  0x65  0x09"]
    assert data("x") == ["0x100013 <text+0x4>:  0x74"]
    data("rsi")
    assert data.first("x").startswith("error: ADDRESS is missing")


def test_list_marks_here_and_breakpoints_and_goes_on():
    with session("one_store") as walked:
        told = Told(walked)
        told("b 18", "b 20", "disable 2")
        assert told("list") == [
            "      12",
            '      13  .include "machine.inc"',
            '      14  .include "mmio_nic.inc"',
            "      15",
            "      16  _start:",
            "=>    17          mov     edi, MMIO_BASE          ; edi = the card's window; "
            "the upper half of rdi is 0",
            "  *   18          mov     eax, 0x12345678",
            "      19          mov     [rdi + NIC_SCRATCH], eax        ; EXIT 1: KVM_EXIT_MMIO, "
            "is_write 1, len 4",
            "  -   20          hlt                             ; EXIT 2",
        ]
        assert told("") == ["error: one_store.s has 20 lines"]
        assert told("list 3")[0] == "       1  ; /// machine"
        assert told.first("list nowhere").startswith("error: there is no label 'nowhere'")


def test_list_an_included_file():
    with session("virtio_net_tx") as walked:
        told = Told(walked)
        assert told("list panic.inc:8")[5] == "       8          lodsb"
        assert told("list no.inc:8")[0].startswith("error: no code comes from a file no.inc")


def test_disassemble(data):
    assert data("disassemble words 2")[:2] == ["words:", "   0x100019:  xor al, 0x12"]
    assert data("disas")[0] == "=> 0x10000e:  hlt"


def test_display_at_each_stop(data):
    assert data("display/x eax") == ["1: eax/x = 0xfffffff6"]
    data("display u8[rsi - 1]")
    assert data("rsi")[-2:] == ["  1: eax/x = 0xfffffff6", "  2: u8[rsi - 1] = 0xf4 (244)"]
    assert data("goto 0")[-1].startswith("  2: u8[rsi - 1] = ? (")
    assert data("undisplay 1", "info display")[0].startswith("2: u8[rsi - 1] = ?")
    assert data("delete display 2", "display") == ["nothing is displayed"]
    assert data("undisplay 7") == ["error: there is no display 7 (hint: there is none)"]
    assert data.first("display nosuch") == "error: 'nosuch' is no label, register or counter"


def test_registers(data):
    said = data("info registers")
    assert said[0] == "rax     0x00000000fffffff6  4294967286"
    assert said[-1] == "rflags  0x0000000000000046  70 [PF ZF]"
    assert len(said) == 18
    assert data("info r al, rip zf") == [
        "al      0xf6  246", "rip     0x000000000010000e  1048590", "zf      0x1  1",
    ]  # fmt: skip
    everything = data("info r all")
    assert everything[-1] == "mode    long, 64-bit code, privilege level 0"
    assert data("info r raxx") == ["error: there is no register 'raxx' (hint: did you mean rax?)"]
    assert "ZF   1  zero: the last result was 0, or what was compared is equal" in data(
        "info flags"
    )


def test_what_was_counted():
    with session("one_store") as walked:
        told = Told(walked)
        told("c")
        assert told("info exits") == [
            "2 vmexits: 2 to QEMU, 0 lightweight", "  hlt: 1", "  mmio: 1",
        ]  # fmt: skip
        assert told("info copies") == [
            "2 copies of 8 bytes", "  guest->kvm: 1, 4 bytes", "  kvm->qemu: 1, 4 bytes",
        ]  # fmt: skip
        counters = told("info counters")
        assert counters[:2] == ["instructions: 4", "events: 12"]
        assert counters[-1] == "system calls: none but ioctl(KVM_RUN)"
        assert [line.split()[0] for line in told("info events 3")] == ["9", "10", "11"]
        assert [line.split()[0] for line in told("info events 2 3")] == ["2", "3"]
        assert told("info events 500 600") == ["no such events; 12 are recorded, from 0 on"]
        assert told("info console") == ["printed: 0 bytes"]


def test_rings():
    with session("virtio_net_tx") as walked:
        told = Told(walked)
        assert told.first("info ring").startswith("error: which ring? (hint: there is ")
        told("until tx.used.idx == 1")
        line = (
            "virtio-net transmitq (queue 1): ready, 8 entries, avail.idx 1, used.idx 1, "
            "taken up to 1, 0 in flight, served by QEMU"
        )
        assert told("info rings")[1] == line
        for name in ("tx", "1", "transmitq", "virtio_net.tx", "virtio-net tx"):
            assert told.first(f"info ring {name}") == line
        ring = told("info ring tx")
        assert ring[2].startswith("  0: addr 0x1001c0 len 12 NEXT next 1: driver: used")
        assert "used ring at 0x20098: flags none, idx 1" in ring
        assert told("info ring 7") == [
            "error: there is no ring '7' (hint: there is virtio-net.receiveq, virtio-net.transmitq)"
        ]
        assert told("info packets")[0] == "sent: 1 packet"


def test_interrupt_controllers():
    with session("timer_tick") as walked:
        told = Told(walked)
        told("i")
        assert told.first("info pic").startswith("master: IRR ")
        assert any("IRQ 0 (pit)" in line for line in told("info interrupts"))
        assert told.first("info pit").startswith("channel 0 (IRQ 0): mode ")
        assert told.first("info idt").startswith("IDT at ")
    with session("one_store") as walked:
        told = Told(walked)
        for topic in ("pic", "pit", "rings", "ring tx"):
            assert told.first(f"info {topic}").startswith("error: the machine has no ")


def test_devices():
    with session("virtio_net_tx") as walked:
        told = Told(walked)
        assert told.first("info devices") == "virtio-net: 0xd0000000, IRQ 5"
        assert told("info device virtio_net")[1] == "  0x000 MagicValue: 0x74726976 'virt'"
        assert told("info device nic") == [
            "error: there is no device 'nic' (hint: there is virtio-net, debugcon)"
        ]


@pytest.mark.parametrize("program", ["virtio_net_tx", "timer_tick_real", "add"])
@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_answers_at_the_beginning_and_the_end(program, topic):
    with session(program) as walked:
        told = Told(walked)
        for place in ("start", "end"):
            told(f"goto {place}")
            assert told(f"info {topic.name}")


def test_help_names_every_command_and_topic(data):
    said = [*data("help"), *data("help info"), *data("help expressions")]
    assert max(map(len, said)) <= 100
    shown = "\n".join(said)
    for name in ("reverse-continue, rc", "x [/NFU] [ADDRESS]", "ring NAME", "console:"):
        assert name in shown
    assert data("help tb")[0] == "tbreak, tb [PLACE] [if CONDITION]"
    assert data.first("help nothing").startswith("error: there is no command 'nothing'")
    assert "signed(eax)" in "\n".join(data("help expressions"))


def test_history_and_echo(data):
    data("echo  a  b")
    assert data("echo a  b") == ["a  b"]
    assert data("history 2") == ["   3  echo a  b", "   4  history 2"]


def test_errors_in_an_expression_point_at_the_place(data):
    assert data("p 1 + nosuch") == [
        "error: 'nosuch' is no label, register or counter",
        "  1 + nosuch",
        "      ^",
    ]
