"""Commands that move: what they do, and what they say about it."""

from __future__ import annotations

import pytest
from prompt_kit import Told
from sessions import session, session_of

from toyvisor.ui.prompt.commands import COMMANDS

CALLS = """\
        call    outer
        mov     ecx, 3
        mov     edi, 0x20000
        rep stosb
after:  hlt
outer:  call    inner
        ret
inner:  mov     eax, 5
        ret"""
LONG = 'mode = "long"'


@pytest.fixture
def one_store():
    with session("one_store") as walked:
        yield Told(walked)


@pytest.fixture
def calls(tmp_path):
    with session_of(CALLS, tmp_path, block=LONG) as walked:
        yield Told(walked)


def test_a_stop_has_a_first_line_of_fixed_form(one_store):
    assert one_store("s") == [
        "#1 event 1  one_store.s:18  mov eax, 0x12345678",
        "  stepped: line",
        "  changed: rdi 0x0 -> 0xd0000000",
    ]


def test_a_step_over_an_exit_says_what_it_cost(one_store):
    one_store("s 2")
    assert one_store("s") == [
        "#3 event 9  one_store.s:20  hlt ; EXIT 2",
        "  stepped: line",
        "  on the way: 1 vmexit (mmio 1), 1 return to QEMU, 2 copies of 8 bytes",
    ]


def test_inside_an_exit_the_event_stands_below(one_store):
    one_store("e")
    here = "one_store.s:19  mov [rdi + NIC_SCRATCH], eax ; EXIT 1: KVM_EXIT_MMIO, is_write 1, len 4"
    assert one_store("v") == [
        f"#2 event 3  {here}",
        "  stepped: event",
        "       3        2 KVM   kvm_mmio: mmio write len 4 gpa 0xd0000018 val 0x12345678",
    ]
    assert one_store("u")[2].endswith("kvm_userspace_exit: reason KVM_EXIT_MMIO (6)")
    assert one_store("rv")[2].endswith("copy: guest->kvm 4 bytes")


def test_the_end_is_the_hlt_that_ended_it(one_store):
    assert one_store("c")[:3] == [
        "#4 event 11  one_store.s:20  hlt ; EXIT 2",
        "  the run is over: halted: the guest executed HLT",
        "      11        4 KVM   kvm_userspace_exit: reason KVM_EXIT_HLT (5)",
    ]
    assert one_store("rc")[1] == "  this is where the recording begins"


def test_an_empty_line_repeats_the_last_movement(one_store):
    one_store("si")
    one_store("info flags")
    assert one_store.first("").startswith("#2 ")
    one_store("rsi")
    assert one_store.first("  ").startswith("#0 ")


def test_an_empty_line_repeats_nothing_at_first(one_store):
    assert one_store("", "# a comment") == []


@pytest.mark.parametrize(
    ("command", "instructions"),
    [
        ("s", [1, 2, 3, 4]), ("n", [5, 6, 7, 11]), ("ni", [5, 6, 7, 11]), ("si", [1, 2, 3, 4]),
    ],
)  # fmt: skip
def test_steps_into_and_over_calls(calls, command, instructions):
    """outer has 2 instructions and calls inner, which has 2; stosb is done three times."""
    seen = []
    for _ in instructions:
        calls(command)
        seen.append(calls.session.moment.instructions)
    assert seen == instructions


@pytest.mark.parametrize("command", ["s", "n", "ni", "si"])
def test_the_way_back_leads_over_the_same_places(calls, command):
    there = []
    while calls.session.stop.reason != "end":
        there.append(calls.session.moment)
        calls(command)
    back = []
    while calls.session.stop.reason != "start":
        calls(f"r{command}")
        back.append(calls.session.moment)
    assert list(dict.fromkeys(reversed(back))) == there


def test_finish_and_back(calls):
    calls("s 2")
    assert calls.first("f") == "#4 event 1  guest.s:10  ret"
    assert calls.first("f") == "#5 event 1  guest.s:5  mov ecx, 3"
    calls("goto 3")
    assert calls.first("rf") == "#1 event 1  guest.s:9  outer: call inner"


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("run-to inner", "#2 event 1  guest.s:11  inner: mov eax, 5"),
        ("advance 12", "#3 event 1  guest.s:12  ret"),
        ("run-to guest.s:8", "#11 event 1  guest.s:8  after: hlt"),
        ("run-to after", "#11 event 1  guest.s:8  after: hlt"),
        ("until eax == 5", "#3 event 1  guest.s:12  ret"),
        ("until instructions == 6", "#6 event 1  guest.s:6  mov edi, 0x20000"),
        ("goto 4", "#4 event 1  guest.s:10  ret"),
        ("goto #4", "#4 event 1  guest.s:10  ret"),
        ("seek 2 + 2", "#4 event 1  guest.s:10  ret"),
        ("goto event 2", "#12 event 2  guest.s:8  after: hlt"),
        ("goto end", "#12 event 3  guest.s:8  after: hlt"),
        ("step 3", "#3 event 1  guest.s:12  ret"),
        ("step rsp - rsp + 3", "#3 event 1  guest.s:12  ret"),
    ],
)
def test_going_places(calls, line, place):
    assert calls.first(line) == place


def test_back_to_a_place(calls):
    calls("goto end")
    assert calls.first("back-to inner").startswith("#2 ")


def test_devices_by_both_spellings():
    with session("hello_serial") as walked:
        told = Told(walked)
        assert "serial offset" in told("d serial")[2]
    with session("virtio_net_tx") as walked:
        told = Told(walked)
        told("d virtio_net 2")
        assert walked.moment.events - 1 == 14
        told("rd virtio-net")
        assert walked.moment.events - 1 == 5
        assert told("d nosuch") == [
            "error: there is no device nosuch (hint: there is virtio-net, debugcon)"
        ]


def test_what_the_guest_prints_and_sends_is_told():
    with session("hello_serial") as walked:
        assert r'  printed: "Hello from long mode\n"' in Told(walked)("c")
    with session("virtio_net_tx") as walked:
        told = Told(walked)
        assert "  sent: packet 0, 342 bytes" in told("until tx.used.idx == 1")
        assert "  sent: packets 1 to 28, 10813 bytes" in told("c")


def test_moments_with_names(one_store):
    one_store("si 2")
    assert one_store("checkpoint here") == ["checkpoint here: #2; back here: restart here"]
    one_store("c", "checkpoint")
    assert one_store("info checkpoints") == ["here: #2 event 1", "1: #4 event 11"]
    assert one_store.first("restart here").startswith("#2 event 1 ")
    assert one_store.first("goto 1").startswith("#4 ")  # the name, not the number
    one_store("delete checkpoint 1")
    assert one_store.first("goto 1").startswith("#1 ")
    assert one_store.first("restart 1").startswith("error: there is no checkpoint '1'")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("stpe", "there is no command 'stpe' (hint: did you mean step or stepi?)"),
        ("rev", "there is no command 'rev' (hint: did you mean reverse-step or reverse-stepi or "
                "reverse-next or reverse-nexti?)"),
        ("s 0", "how often: 0 is not between 1 and 1000000000000000"),
        ("step/x", "step takes no format (hint: it is: step, s [COUNT])"),
        ("quit now", "quit takes no argument (hint: it is: quit, q, exit)"),
        ("until 5", "5 never changes (hint: `run-to 5`, if it is a place)"),
        ("until _start", "_start never changes (hint: `run-to _start`, if it is a place)"),
        ("goto", "N, event N, start, end, or a kept NAME is missing"),
        ("i r", "i goes to the next interrupt (hint: `info r`)"),
    ],
)  # fmt: skip
def test_mistakes_are_told_and_change_nothing(one_store, line, error):
    one_store("si")
    before = one_store.session.moment
    assert one_store(line) == [f"error: {error}"]
    assert one_store.session.moment == before


def test_beginnings_of_names_will_do(one_store):
    assert one_store.first("cont").startswith("#4 ")
    assert one_store.first("reverse-c").startswith("#0 ")


def test_every_command_has_one_owner_of_each_name():
    names = [name for command in COMMANDS for name in command.names]
    assert len(names) == len(set(names))
    wanted = "s si n ni c rs rsi rn rni rc e re u ru i ri finish b tbreak watch x p info set q"
    assert set(wanted.split()) <= set(names)
