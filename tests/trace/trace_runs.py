"""Event streams of shipped programs, as `toyvisor trace` has them, and what their runs counted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import strategies as st

from toyvisor.commands.machine_options import device_options
from toyvisor.commands.run import default_net
from toyvisor.guest.program import load_program
from toyvisor.host.net import open_net
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.result import RunResult, collect
from toyvisor.trace.jsonl import to_dict

#: Ways of a packet: the program, its device option if any, packets sent, and received.
WAYS = (
    ("mmio_nic_tx", "", 29, 0),
    ("mmio_nic_tx_irq", "", 29, 0),
    ("mmio_nic_rx", "", 0, 29),
    ("virtio_net_tx", "", 29, 0),
    ("virtio_net_tx_sleep", "virtio-net,ioeventfd=on,irqfd=on", 29, 0),
    ("virtio_net_tx_sleep", "virtio-net,vhost=on", 29, 0),
    ("virtio_net_rx", "", 0, 29),
    ("virtio_net_rx", "virtio-net,vhost=on", 0, 29),
    ("virtio_net_echo", "", 29, 29),
    ("mmio_nic_echo", "", 29, 29),
)
#: Others, with other events.
OTHERS = ("hello_serial", "hello_protected", "one_load", "cpuid", "hypercall", "timer_tick",
          "nested_interrupts", "spurious_irq", "triple_fault", "spin",
          "keyboardless_echo")  # fmt: skip
ALL = (*((name, device) for name, device, _, _ in WAYS), *((name, "") for name in OTHERS))


@dataclass(frozen=True)
class Run:
    """One run: its events, and its result."""

    events: list[dict[str, Any]]
    result: RunResult

    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events]


@cache
def run(name: str, device: str = "") -> Run:
    """A program's run, on a machine with another device option if there is one."""
    program = load_program(name)
    options = device_options([device] if device else [], program)
    with (
        open_net(default_net(program)) as net,
        Machine(program, net, trace=True, options=options) as machine,
    ):
        result = collect(machine, machine.run(100_000))
        return Run([to_dict(event) for event in machine.trace], result)


def event(kind: str, clock: int = 0, **fields: Any) -> dict[str, Any]:
    """One event of a stream made by hand."""
    fixed = {"seq": 0, "clock": clock, "layer": "KVM", "thread": "VCPU", "event": kind}
    return {**fixed, **fields}


_VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.lists(st.none())
_FIELDS = (
    "reason", "rip", "address", "size", "type", "len", "gpa", "val", "rw", "count", "hop", "bytes",
    "name", "file", "prev_comm", "next_comm", "waited", "irq", "queue", "head", "region", "request",
    "offset", "gsi", "level", "suppressed", "in_num", "out_num", "function",
)  # fmt: skip
_KINDS = (
    "vm_exit", "vm_entry", "kvm_mmio", "kvm_pio", "syscall", "sched_switch", "copy", "ioctl",
    "kvm_userspace_exit", "kvm_vcpu_wakeup", "kvm_inj_virq", "kvm_set_irq", "virtqueue_pop",
    "virtqueue_fill", "virtio_notify", "memory_region_ops_write", "memory_region_ops_read",
    "vhost_work", "tun_recvmsg", "irq_line", "of others",
)  # fmt: skip
#: Events that this project's programs would not write, but that could be in somebody's file.
strange_events = st.builds(
    lambda kind, layer, thread, more: {**event(kind), **more, "layer": layer, "thread": thread},
    st.sampled_from(_KINDS),
    st.sampled_from(["GUEST", "KVM", "QEMU", "HOST", "?"]),
    st.sampled_from(["VCPU", "MAIN_LOOP", "VHOST", "?"]),
    st.dictionaries(st.sampled_from(_FIELDS), _VALUES),
)
