"""Every shipped program does what it says, every time."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from running import BROKEN, EXPECTED, SHIPPED, program, run

from toyvisor.exit_reasons import ExitReason
from toyvisor.guest.library import guest_programs_dir, shipped_programs
from toyvisor.trace.events import KVM_USERSPACE_EXIT, VM_EXIT

#: program -> its console output, its exits
TOLD: dict[str, tuple[str, dict[str, int]]] = {
    "add": ("4\n", {"io": 2, "hlt": 1}),
    "breakpoint": (
        "breakpoint: the return address is INT3 + 1\n"
        "the victim goes on\n"
        "INT n: the return address is INT + 2\n",
        {"io": 99, "hlt": 1},
    ),
    "cpuid": (
        "vendor:     GenuineIntel\nhypervisor: present\nsignature:  KVMKVMKVM\n",
        {"io": 2 * 67, "lightweight": 3, "hlt": 1},
    ),
    "divide_error": (
        "divide error: the return address is DIV + 0\n84 / 2 = 42\n",
        {"io": 56, "hlt": 1},
    ),
    "double_fault": (
        "double fault: the stack is full, at call number 513; page fault at 0x100000ff8\n"
        "and we are still here\n",
        {"io": 101, "hlt": 1},
    ),
    "hello_mmio": (
        "ID      0x43494e4d\nVERSION 1\nMAC     52:54:00:12:34:56\nSCRATCH 0xcafe\n",
        {"mmio": 6, "io": 70, "hlt": 1},
    ),
    "hello_protected": ("Hello from protected mode\n", {"io": 26, "hlt": 1}),
    "hello_serial": ("Hello from long mode\n", {"io": 2 * 21, "hlt": 1}),
    "hypercall": (
        "KVM_HC_VAPIC_POLL_IRQ: 0\nno such hypercall: -1000\n",
        {"io": 2 * 50, "lightweight": 2, "hlt": 1},
    ),
    # 10 to set up the PIC, 2 to unmask, 19 HLTs and 18 EOIs; UART: 2 to set up, 1 + 2 a byte each
    "keyboardless_echo": ("HELLO, INTERRUPTS\n", {"io": 2 + 18 * (2 + 1 + 1), "lightweight": 49}),
    "mmio_nic_tx": ("", {"mmio": 4 + 15 + 3, "hlt": 1}),
    # PIC: 12 to set it up; and for each interrupt an EOI and a HLT, and the last HLT
    "mmio_nic_echo": ("", {"mmio": 3 + 6 + 2 * 15, "lightweight": 12 + 3}),
    "mmio_nic_ping_responder": ("", {"mmio": 5 + 1 + 15 + 2, "lightweight": 12 + 3}),
    "mmio_nic_rx": ("", {"mmio": 5 + 1 + 15 + 2, "lightweight": 12 + 3}),
    "mmio_nic_tx_irq": ("", {"mmio": 5 + 15 + 2 + 2, "lightweight": 12 + 3}),
    "nested_interrupts": (
        "a: serial handler begins\n"
        "a: serial handler ends\n"
        "   timer\n"
        "b: serial handler begins\n"
        "   timer\n"
        "b: serial handler ends\n",
        {"io": 117, "lightweight": 30},
    ),
    "one_load": ("", {"mmio": 1, "hlt": 1}),
    "one_store": ("", {"mmio": 1, "hlt": 1}),
    "out_debugcon": ("!", {"io": 1, "hlt": 1}),
    "page_fault": (
        "page fault at 0x100000010, error code 0: the page of zeros\n"
        "page fault at 0x100000010, error code 3: a new page\n"
        "page fault at 0x100005008, error code 2: a new page\n"
        "40 + 2 = 42\n",
        {"io": 175, "hlt": 1},
    ),
    # two loads for its address, two exits more in step 4 to be told that there is one
    "ping_responder": ("", {"mmio": 39 + 4 + 2, "lightweight": 12 + 3}),
    "spin": ("", {"intr": 1}),
    "spurious_irq": (
        "IRQ 7, and bit 7 of ISR is 0: spurious, no EOI\nthat was all\n",
        {"io": 60, "lightweight": 26},
    ),
    "sti_hlt": (
        "sti; hlt:      the tick came at HLT + 1; ticks until we woke: 1\n"
        "sti; nop; hlt: the tick came at HLT + 0; ticks until we woke: 2\n",
        {"io": 128, "lightweight": 24},
    ),
    # 10 to set up the PIC, 2 to unmask, 3 for the PIT; then HLT and EOI each time, and the last HLT
    "timer_tick": (
        "tick 1\ntick 2\ntick 3\ntick 4\ntick 5\n",
        {"io": 35, "lightweight": 10 + 2 + 3 + 5 * 2 + 1},
    ),
    "timer_tick_real": (
        "tick 1\ntick 2\ntick 3\ntick 4\ntick 5\n",
        {"io": 35, "lightweight": 5 + 3 + 5 * 2 + 1},
    ),
    "triple_fault": ("", {"shutdown": 1}),
    "user_mode": (
        "hello from level 3\n"
        "INT 0x80 from level 3; the stack was 0x3ffff0, ours is 0x024000\n"
        "#GP at CLI + 0, error code 0: killed\n",
        {"io": 120, "hlt": 1},
    ),
    "virtio_net_tx": ("", {"mmio": 27 + 1, "hlt": 1}),
    "virtio_net_echo": ("", {"mmio": 39 + 3, "lightweight": 12 + 3}),
    # an ioeventfd: the kick is lightweight
    "virtio_net_event_idx": (
        "1 frames, kicks: 1, interrupts: 1\n",
        {"io": 34, "mmio": 29 + 2, "lightweight": 12 + 1 + 3},
    ),
    "virtio_net_rx": ("", {"mmio": 28 + 2, "lightweight": 12 + 3}),
    "virtio_net_tx_sleep": ("", {"mmio": 27 + 2, "lightweight": 12 + 1 + 3}),
    "virtio_net_tx_batch": ("", {"mmio": 27 + 1, "hlt": 1}),
    "virtio_probe": (
        "magic          0x74726976\n"
        "version        0x00000002\n"
        "device id      0x00000001\n"
        "vendor id      0x554d4551\n"
        "features 0-31  0x30018020\n"
        "features 32-63 0x00000001\n",
        {"mmio": 8, "io": 2 * 156, "hlt": 1},
    ),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_program_ends_as_its_block_says_and_breaks_no_rule(name):
    done = run(name, budget=10_000)
    expect = program(name).spec.expect
    assert done.outcome == EXPECTED.get(expect, expect)
    assert done.rules == []


@pytest.mark.parametrize("name", SHIPPED)
def test_a_program_prints_what_it_should_with_the_exits_it_should(name):
    console, exits = TOLD[name]
    done = run(name, budget=10_000)
    assert done.console == console
    assert done.exits == exits


@pytest.mark.parametrize("name", SHIPPED + BROKEN)
def test_two_runs_leave_the_same_trace(name):
    first, second = (run(name, trace=True, budget=10_000) for _ in range(2))
    assert first.events == second.events
    assert first.events, "a run leaves a trace"


@pytest.mark.parametrize("name", SHIPPED)
def test_watching_changes_nothing(name):
    watched, alone = (run(name, trace=trace, budget=10_000) for trace in (True, False))
    assert watched.exits == alone.exits
    assert watched.copies == alone.copies
    assert bytes(watched.registers) == bytes(alone.registers)


def test_every_program_has_a_title_of_its_own():
    titles = [shipped.title for shipped in shipped_programs()]
    titles += [program(name).spec.title for name in BROKEN]
    assert all(titles)
    assert len(set(titles)) == len(titles)
    assert all(len(title) <= 70 for title in titles), "a title fits in a list of 80 columns"


def test_lines_fit_on_a_screen():
    sources = {program(name).path.parent for name in SHIPPED + BROKEN}
    for folder in sources:
        for path in [*folder.glob("*.s"), *folder.glob("*.inc")]:
            for number, line in enumerate(path.read_text().splitlines(), 1):
                assert len(line) <= 100, f"{path.name}:{number}"
                assert line == line.rstrip(), f"{path.name}:{number} ends in blanks"
                assert "\t" not in line, f"{path.name}:{number} has a tab"


# What each of the small ones is there to show ----------------------------------------------------


def test_add_takes_its_numbers_from_whoever_starts_the_machine():
    assert run("add", registers={"rax": 3, "rbx": 5}).console == "8\n"


def test_a_store_is_copied_twice_and_a_load_twice():
    assert run("one_store").copies == {"guest->kvm": (1, 4), "kvm->qemu": (1, 4)}
    assert run("one_load").copies == {"qemu->kvm": (1, 4), "kvm->guest": (1, 4)}


def test_a_load_has_its_value_when_the_guest_goes_on():
    assert int(run("one_load").registers.rbx).to_bytes(4, "little") == b"MNIC"


def test_each_printed_byte_is_copied_three_times_and_costs_a_system_call():
    done = run("hello_protected")
    assert done.copies == {
        "guest->kvm": (26, 26),
        "kvm->qemu": (26, 26),
        "qemu->host": (26, 26),
    }
    assert done.ledger.syscalls == {"write": 26}


def test_cpuid_and_hypercalls_never_reach_qemu():
    """Between such an exit and the next one, KVM does not return to userspace."""
    for name, kind in (("cpuid", "kvm_cpuid"), ("hypercall", "kvm_hypercall")):
        kinds = run(name, trace=True).kinds
        places = [place for place, found in enumerate(kinds) if found == kind]
        assert len(places) == TOLD[name][1]["lightweight"]
        for place in places:
            until_next_exit = kinds[place : kinds.index("vm_exit", place + 1)]
            assert "kvm_userspace_exit" not in until_next_exit


def test_spin_stops_when_its_budget_is_spent():
    done = run("spin", budget=1234)
    assert done.outcome == "budget"
    assert "1,234 instructions" in done.ending.explanation


def test_triple_fault_says_why():
    assert "#BP" in run("triple_fault").ending.explanation


# The comments are true ------------------------------------------------------------------------

HALTING = [name for name in SHIPPED if program(name).spec.expect == "halt"]


#: Lines that end a sleep or an interrupt's wait are not what their instruction does.
NOT_MARKED = {ExitReason.HLT, ExitReason.PREEMPTION_TIMER, ExitReason.INTERRUPT_WINDOW}
#: Include files that no program uses whole; test_pic_pit_routines.py calls all of theirs.
NEVER_WHOLE = {"panic.inc", "pic.inc", "pit.inc"}
LIGHTWEIGHT = re.compile(r"; EXIT(, | \()lightweight")


@cache
def exiting_lines(name: str) -> dict[str, dict[int, bool]]:
    """The source lines whose instruction made an exit, by file, and whether it went to QEMU."""
    frames = [bytes(61), bytes(62)]  # their last bytes do not fill a word
    done = run(name, frames, trace=True)
    line_at = {line.address: line.location for line in program(name).assembly.listing.lines}
    found: dict[str, dict[int, bool]] = {}
    lines, line = None, 0
    for event in done.trace:
        if event.kind is VM_EXIT:
            lines = None
            if event.fields["reason"] not in NOT_MARKED:
                location = line_at[event.fields["rip"]]
                lines, line = found.setdefault(Path(location.file).name, {}), location.line
                lines.setdefault(line, False)
        elif event.kind is KVM_USERSPACE_EXIT and lines is not None:
            lines[line] = True
    return found


def marked_lines(path: Path) -> dict[int, bool]:
    """The lines that say they exit, HLT apart, and whether they say it goes to QEMU."""
    lines = enumerate(path.read_text().splitlines(), 1)
    return {
        number: LIGHTWEIGHT.search(line) is None
        for number, line in lines
        if "; EXIT" in line and "hlt" not in line
    }


@pytest.mark.parametrize("name", HALTING)
def test_exactly_the_lines_that_exit_say_so_and_which_are_lightweight(name):
    exiting = exiting_lines(name)
    folder = program(name).path.parent
    assert exiting.get(f"{name}.s", {}) == marked_lines(folder / f"{name}.s")
    for file in exiting.keys() - {f"{name}.s"}:  # of an include it may use a part
        assert exiting[file].items() <= marked_lines(folder / file).items(), file


def test_every_line_of_an_include_file_that_says_so_exits_in_some_program():
    for path in guest_programs_dir().glob("*.inc"):
        if path.name not in NEVER_WHOLE:
            exiting = {line for n in HALTING for line in exiting_lines(n).get(path.name, ())}
            assert exiting == marked_lines(path).keys(), path.name


def test_marks_are_found():
    assert set(marked_lines(guest_programs_dir() / "timer_tick.s").values()) == {False}
    assert set(marked_lines(guest_programs_dir() / "keyboardless_echo.s").values()) == {True, False}
    assert set(marked_lines(guest_programs_dir() / "pic.inc").values()) == {False}
    assert set(marked_lines(guest_programs_dir() / "print.inc").values()) == {True}
