"""Programs with one mistake each: they end, in bounded time, and are told the right rule."""

from __future__ import annotations

from typing import Any

import pytest
from running import BROKEN, EXPECTED, Run, program, run

from toyvisor.qemu.machine import Machine
from toyvisor.qemu.result import collect

#: program -> the rules it breaks, in order
BREAKS: dict[str, list[str]] = {
    "broken/descriptor_loop": ["virtio.split.chain-loop"],
    "broken/descriptor_outside_ram": ["virtio.split.buffer-range"],
    "broken/divide_by_zero": [],
    "broken/endless_loop": [],
    "broken/forgotten_kick": [],
    "broken/frame_not_released": ["mmio-nic.rx-waiting"],
    "broken/frame_too_long": ["mmio-nic.tx-length"],
    "broken/idt_outside_ram": [],
    "broken/index_masked": ["virtio.split.avail-jump"],
    "broken/index_masked_early": ["virtio.net.rx-waiting"],
    "broken/interrupt_storm": ["pic.storm"],
    "broken/iret_forgotten_error_code": [],
    "broken/jump_into_nothing": [],
    "broken/kick_not_ready": ["virtio.notify.not-ready"],
    "broken/lost_wakeup": ["cpu.lost-wakeup"],
    "broken/masked_forever": ["pic.blocked"],
    "broken/no_eoi": ["pic.blocked"],
    "broken/no_features_ok": [
        "virtio.mmio.ready-early",
        "virtio.status.driver-ok",
        "virtio.notify.early",
    ],
    "broken/no_header": ["virtio.net.tx-gso"],
    "broken/no_idt": [],
    "broken/no_interrupt_ack": ["pic.blocked", "virtio.net.rx-waiting"],
    "broken/no_version_1": ["virtio.features.version-1"],
    "broken/publishes_before_filling": ["virtio.split.buffer-empty"],
    "broken/ring_misaligned": ["virtio.split.alignment"],
    "broken/ring_outside_ram": ["virtio.split.area-range"],
    "broken/rx_no_buffers": ["virtio.net.rx-waiting"],
    "broken/send_disabled": ["mmio-nic.tx-disabled"],
    "broken/stack_fault_in_delivery": [],
    "broken/status_overwritten": ["virtio.status.cleared"],
    "broken/sti_before_idt": [],
    "broken/store_outside": ["machine.unassigned", "machine.unassigned"],
    "broken/used_event_never_updated": ["virtio.net.rx-unheard"],
    "broken/used_index_not_reread": [],
    "broken/wide_store": ["virtio.mmio.access-width", "virtio.split.buffer-empty"],
    "broken/writable_frame": ["virtio.net.tx-writable"],
    "broken/wrong_vector": ["pic.vector"],
}
#: those that end otherwise than with a mere HLT -> words of the explanation
EXPLAINED = {
    "broken/divide_by_zero": ["divide error (#DE)", "IDT"],
    "broken/endless_loop": ["still running"],
    "broken/forgotten_kick": ["still running"],
    "broken/idt_outside_ram": ["DELIVERY_EV", "no RAM (the IDT is at 0xe0000000)"],
    "broken/interrupt_storm": ["still running"],
    "broken/iret_forgotten_error_code": ["(#GP) at an IRET", "error code", "gate 13", "is empty"],
    "broken/jump_into_nothing": ["0xe0000000", "no RAM to execute from"],
    "broken/lost_wakeup": ["no interrupt is to come", "came right before this HLT"],
    "broken/masked_forever": ["waits in HLT, and no interrupt is to come"],
    "broken/no_eoi": ["waits in HLT, and no interrupt is to come"],
    "broken/no_idt": ["interrupt 0x20 (IRQ 0)", "no gate 0x20", "before STI"],
    "broken/no_version_1": ["#UD"],
    "broken/stack_fault_in_delivery": [
        "interrupt 0x20 (IRQ 0), but its frame can't be pushed (page fault writing 0x1000000",
        "so page fault (#PF), the same again; so double fault (#DF), the same again",
    ],
    "broken/sti_before_idt": ["interrupt 0x20 (IRQ 0)", "no gate 0x20", "before STI"],
    "broken/wrong_vector": ["HLT with interrupts off"],
}
#: Words of what is reported, where the rule alone does not say it all.
REPORTED = {
    "broken/interrupt_storm": ["IRQ 5 (mmio-nic) is level-triggered, and its line is still up"],
    "broken/frame_not_released": ["28 frames wait in the host", "has not released"],
    "broken/index_masked_early": ["25 frames wait", "all buffers", "are used, none came back"],
    "broken/lost_wakeup": ["between STI and this HLT"],
    "broken/masked_forever": ["IRQ 0 (pit) waits", "masked", "port 0x21"],
    "broken/no_eoi": ["IRQ 0 (pit) waits", "no EOI has been sent", "port 0x20"],
    "broken/no_interrupt_ack": ["IRQ 5 (virtio-net) waits", "stayed up", "acknowledges"],
    "broken/publishes_before_filling": ["descriptor 0 (addr 0x0) has len 0"],
    "broken/rx_no_buffers": ["25 frames wait in the host", "used.idx are 4", "none came back"],
    "broken/used_event_never_updated": ["28 used buffer(s)", "still 0, used.idx is 29"],
    "broken/wrong_vector": ["IRQ 0 came as vector 8, which is double fault (#DF)"],
}


#: Those that fail only when several frames have come in, or after a while.
RECEIVERS = [
    "broken/frame_not_released",
    "broken/index_masked_early",
    "broken/no_interrupt_ack",
    "broken/rx_no_buffers",
    "broken/used_event_never_updated",
    "broken/used_index_not_reread",
]
SLOW = {"broken/index_masked_early", "broken/publishes_before_filling"}
SLOW.add("broken/used_index_not_reread")


def fail(name: str, **options: Any) -> Run:
    """Run a broken program until it has shown what is wrong with it."""
    frames = [bytes(60)] * 29 if name in RECEIVERS else None
    return run(name, frames, budget=1_000_000 if name in SLOW else 10_000, **options)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_program_ends_as_its_block_says(name):
    done = run(name, budget=100_000)
    expect = program(name).spec.expect
    assert done.outcome == EXPECTED.get(expect, expect)
    if name != "broken/interrupt_storm":
        assert done.ledger.total_exits < 100


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_program_is_told_the_rule_it_breaks(name):
    done = fail(name)
    assert done.rules == BREAKS[name]
    assert all(error.hint for _, error in done.errors), "a rule says what to do"


@pytest.mark.parametrize("name", BROKEN)
def test_the_explanation_names_the_cause(name):
    done = fail(name)
    for words in EXPLAINED.get(name, ["HLT"]):
        assert words in done.ending.explanation


@pytest.mark.parametrize("name", REPORTED)
def test_what_is_reported_names_the_cause(name):
    (_, error), *_ = fail(name).errors
    assert all(words in error.message for words in REPORTED[name])


def test_a_storm_leaves_the_guest_no_instruction_of_its_own():
    """From the first interrupt on it is in its handler: 5 instructions, then again."""
    short, long = (run("broken/interrupt_storm", budget=budget).ledger for budget in (1000, 11_000))
    assert long.injected - short.injected == 10_000 // 5
    assert long.userspace_exits == short.userspace_exits, "nothing more of the main program"


@pytest.mark.parametrize(
    ("name", "interrupts"),
    [("no_eoi", 1), ("masked_forever", 0), ("lost_wakeup", 1), ("wrong_vector", 1)],
)
def test_how_many_interrupts_come_before_the_guest_sleeps_for_ever(name, interrupts):
    assert run(f"broken/{name}").ledger.injected == interrupts


@pytest.mark.parametrize("name", ["lost_wakeup", "no_eoi", "masked_forever", "wrong_vector"])
def test_the_place_of_a_sleep_is_its_hlt(name):
    done = program(f"broken/{name}")
    with Machine(done) as machine:
        result = collect(machine, machine.run())
    for place in (result.location, result.mistakes[0].location):
        number = int(place.rsplit(":", 1)[1].split()[0])
        assert done.path.read_text().splitlines()[number - 1].split()[0] == "hlt"


def test_only_the_masked_index_and_the_storm_send_anything_before_it_fails():
    sent = {name: len(fail(name).sent) for name in BROKEN}
    some = {name: count for name, count in sent.items() if count}
    assert some == {"broken/index_masked": 7, "broken/interrupt_storm": 1}


def test_a_load_from_nowhere_reads_all_ones():
    assert run("broken/store_outside").registers.rax == 0xFFFFFFFF


def test_the_timer_that_arrives_as_a_double_fault():
    assert run("broken/wrong_vector").console == "double fault!\n"


def test_the_driver_without_version_1_notices_and_says_so():
    assert "does not accept our features" in run("broken/no_version_1").console
