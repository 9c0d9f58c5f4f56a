"""Every shipped program does what it says, every time."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import BROKEN, EXPECTED, SHIPPED, program, run

from toyvisor.exit_reasons import ExitReason
from toyvisor.guest.library import shipped_programs
from toyvisor.trace.events import VM_EXIT

#: program -> its console output, its exits
TOLD: dict[str, tuple[str, dict[str, int]]] = {
    "add": ("4\n", {"io": 2, "hlt": 1}),
    "cpuid": (
        "vendor:     GenuineIntel\nhypervisor: present\nsignature:  KVMKVMKVM\n",
        {"io": 2 * 67, "lightweight": 3, "hlt": 1},
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
    "mmio_nic_tx": ("", {"mmio": 4 + 15 + 3, "hlt": 1}),
    "one_load": ("", {"mmio": 1, "hlt": 1}),
    "one_store": ("", {"mmio": 1, "hlt": 1}),
    "out_debugcon": ("!", {"io": 1, "hlt": 1}),
    "spin": ("", {"intr": 1}),
    "triple_fault": ("", {"shutdown": 1}),
    "virtio_net_tx": ("", {"mmio": 27 + 1, "hlt": 1}),
    "virtio_net_tx_batch": ("", {"mmio": 27 + 1, "hlt": 1}),
    "virtio_probe": (
        "magic          0x74726976\n"
        "version        0x00000002\n"
        "device id      0x00000001\n"
        "vendor id      0x554d4551\n"
        "features 0-31  0x30010020\n"
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


def exiting_lines(name: str) -> dict[str, set[int]]:
    """The source lines whose instruction made an exit (HLT apart), by file."""
    frames = [bytes(61), bytes(62)]  # their last bytes do not fill a word
    done = run(name, frames, trace=True)
    line_at = {line.address: line.location for line in program(name).assembly.listing.lines}
    found: dict[str, set[int]] = {}
    for event in done.trace:
        if event.kind is VM_EXIT and event.fields["reason"] != ExitReason.HLT:
            location = line_at[event.fields["rip"]]
            found.setdefault(Path(location.file).name, set()).add(location.line)
    return found


@pytest.mark.parametrize("name", HALTING)
def test_exactly_the_lines_that_exit_say_so(name):
    exiting = exiting_lines(name)
    folder = program(name).path.parent
    for file in {f"{name}.s", *exiting} - {"panic.inc"}:
        lines = enumerate((folder / file).read_text().splitlines(), 1)
        marked = {number for number, line in lines if "; EXIT" in line and "hlt" not in line}
        if file == "print.inc":  # whichever way it prints, only some of its lines run
            assert exiting[file] <= marked
        else:
            assert exiting.get(file, set()) == marked, file
