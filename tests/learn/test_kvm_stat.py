"""Exit times: perf's way of counting, the cost table's prices."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyvisor.commands.run import default_net
from toyvisor.guest.program import load_program
from toyvisor.host.net import open_net
from toyvisor.learn.cost_file import shipped_costs
from toyvisor.learn.counts import counts_of
from toyvisor.learn.kvm_stat import ExitTimes, exit_times, microseconds
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.result import collect
from toyvisor.trace.jsonl import to_dict

COSTS = shipped_costs()


def cycles(*keys: str) -> float:
    return sum(COSTS[key].cycles for key in keys)


def times(*events: tuple[str, dict]):
    found = exit_times([{"event": kind, **fields} for kind, fields in events], COSTS)
    return {row.reason: row for row in found}


MMIO = ("vm_exit", {"reason": 49})
HLT = ("vm_exit", {"reason": 12})
ENTRY = ("vm_entry", {})


def test_an_exit_costs_what_happens_from_it_to_the_entry():
    found = times(
        ("syscall", {}),  # before the first exit: not in it
        MMIO,
        ("copy", {"bytes": 4}),
        ("kvm_userspace_exit", {"reason": 6}),
        ("copy", {"bytes": 4}),
        ("syscall", {"name": "writev"}),
        ("ioctl", {"request": "KVM_IRQ_LINE"}),
        ("ioctl", {"request": "KVM_RUN"}),
        ("kvm_inj_virq", {"irq": 0x25}),
        ENTRY,
        ("syscall", {}),
    )["EPT_MISCONFIG"]
    assert found.total == cycles(
        "vmexit", "mmio_emulation", "copy", "copy", "userspace_return", "syscall", "syscall",
        "interrupt",
    ) + 8 * cycles("copied_byte")  # fmt: skip
    assert found.shortest == found.longest == found.mean == found.total


def test_the_last_exit_counts_though_the_guest_does_not_come_back():
    found = times(HLT, ("kvm_userspace_exit", {"reason": 5}))
    assert found["HLT"].total == cycles("vmexit", "userspace_return")


def test_the_most_frequent_comes_first():
    assert list(times(HLT, ENTRY, MMIO, ENTRY, MMIO, ENTRY)) == ["EPT_MISCONFIG", "HLT"]


def test_reasons_that_nobody_knows_are_one():
    found = times(("vm_exit", {"reason": 99}), ("vm_exit", {}), ("vm_exit", {"reason": []}))
    assert found["UNKNOWN"].samples == 3


def test_three_thousand_cycles_are_a_microsecond():
    assert microseconds(3000) == 1.0


@pytest.mark.parametrize(
    "name",
    ["hello_serial", "mmio_nic_tx", "virtio_net_tx", "virtio_net_rx", "virtio_net_echo", "cpuid",
     "timer_tick", "triple_fault"],
)  # fmt: skip
def test_all_exits_together_cost_what_the_experiment_estimates(name):
    """But for the guest's own instructions, and the accesses to rings, which are no events."""
    program = load_program(name)
    with open_net(default_net(program)) as net, Machine(program, net, trace=True) as machine:
        result = collect(machine, machine.run())
        rows = exit_times(map(to_dict, machine.trace), COSTS)
    counts = replace(counts_of(result), instructions=0, ring_reads=0, ring_writes=0)
    assert sum(row.samples for row in rows) == result.total_exits
    assert sum(row.total for row in rows) == pytest.approx(COSTS.estimate(counts, 1).total)


@given(st.lists(st.floats(1, 1e6), min_size=2, max_size=50))
def test_mean_and_deviation(samples):
    row = ExitTimes("HLT")
    for sample in samples:
        row.add(sample)
    assert row.mean == pytest.approx(fmean(samples))
    of_the_mean = stdev(samples) / len(samples) ** 0.5
    assert row.relative_deviation == pytest.approx(100 * of_the_mean / fmean(samples), abs=1e-4)
    assert (row.shortest, row.longest) == (min(samples), max(samples))


def test_one_sample_does_not_deviate():
    row = ExitTimes("HLT")
    assert row.relative_deviation == 0
    row.add(5)
    assert row.relative_deviation == 0
