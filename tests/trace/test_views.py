"""Events as objects, lines and text: nothing lost on the way."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyvisor.errors import InputError
from toyvisor.guest.program import load_program
from toyvisor.qemu.machine import Machine
from toyvisor.trace.jsonl import FIXED, read_jsonl, to_dict, to_jsonl, to_line
from toyvisor.trace.text import to_text


@pytest.fixture(scope="module")
def streams():
    """Every kind of event, from programs that make them."""
    found = []
    for name in ("add", "hello_mmio", "virtio_net_tx", "mmio_nic_tx", "cpuid", "hypercall",
                 "broken/store_outside", "triple_fault"):  # fmt: skip
        from toyvisor.guest.library import guest_programs_dir

        with Machine(load_program(guest_programs_dir() / f"{name}.s"), trace=True) as machine:
            machine.run(100_000)
            found.append(list(machine.trace))
    return found


def test_an_event_begins_with_what_all_have(streams):
    for event in streams[0]:
        names = list(to_dict(event))
        assert names[: len(FIXED)] == list(FIXED)
        assert set(names[len(FIXED) :]) == set(event.fields)


def test_written_and_read_back(streams, tmp_path):
    for events in streams:
        file = tmp_path / "run.jsonl"
        file.write_text("".join(to_jsonl(events)))
        assert list(read_jsonl(file)) == [to_dict(event) for event in events]


def test_every_kind_has_a_text_of_its_own(streams):
    kinds = {}
    for events in streams:
        for event in events:
            line = to_text(to_dict(event))
            assert "\n" not in line
            assert line == line.rstrip()
            assert line.split()[:3] == [str(event.seq), str(event.clock), event.layer.name]
            kinds[event.kind.name] = line
    for kind in ("vm_exit", "vm_entry", "kvm_mmio", "kvm_pio", "copy", "syscall", "guest_error",
                 "kvm_userspace_exit", "memory_region_ops_write", "memory_region_ops_read",
                 "kvm_cpuid", "kvm_hypercall", "ioctl", "device"):  # fmt: skip
        assert kind in kinds, f"no program shows a {kind}"


def test_texts_are_those_of_ftrace(streams):
    lines = [to_text(to_dict(event)).split(maxsplit=3)[3] for event in streams[0]]
    assert lines[:6] == [
        "ioctl: KVM_RUN",
        "kvm_entry: vcpu 0",
        "kvm_exit: vcpu 0 reason IO_INSTRUCTION rip 0x1007 address 0x3f8",
        "kvm_pio: pio_write at 0x3f8 size 1 count 1 val 0x34",
        "copy: guest->kvm 1 bytes",
        "kvm_userspace_exit: reason KVM_EXIT_IO (2)",
    ]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
names = st.sampled_from(["reason", "rip", "address", "hop", "bytes", "gpa", "val", "x"])
kinds = st.sampled_from(["vm_exit", "kvm_mmio", "copy", "syscall", "kvm_cpuid", "else", ""])


@given(kinds, st.dictionaries(names, values))
def test_any_event_becomes_one_line_and_comes_back(kind, fields):
    event = {"seq": 1, "clock": 2, "layer": "KVM", "thread": "VCPU", "event": kind, **fields}
    assert json.loads(to_line(event)) == event
    assert to_text(event).startswith("     1        2 KVM ")


@given(st.binary(max_size=300))
def test_reading_anything_ends_well_or_with_an_input_error(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "any.jsonl"
    file.write_bytes(content)
    events = []
    with suppress(InputError):  # which names the file and the line
        events = list(read_jsonl(file))
    assert all(set(FIXED) <= set(event) for event in events)
