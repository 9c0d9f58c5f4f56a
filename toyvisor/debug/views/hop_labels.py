"""Each event in a few words, for a lane that is narrow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toyvisor.debug.views.reasons import kvm_exit_name, vmx_reason_name
from toyvisor.trace.events import EventView

LONGEST = 30
_Fields = dict[str, Any]


def hop_label(event: EventView) -> str:
    """At most 30 characters."""
    form = _LABELS.get(event.kind.name)
    text = form(event.fields) if form is not None else event.kind.name
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _mmio(f: _Fields) -> str:
    if f["type"] == "unsatisfied-read":
        return f"load {f['len']} B at {f['gpa']:#x}"
    verb = "store" if f["type"] == "write" else "loaded"
    return f"{verb} {f['len']} B, {f['val']:#x}"


def _pio(f: _Fields) -> str:
    verb = "OUT" if f["rw"] == "write" else "IN gave"
    return f"{verb} {f['val']:#x}, port {f['port']:#x}"


def _syscall(f: _Fields) -> str:
    if f["bytes"] < 0:
        return f"{f['name']} {f['file']}: nothing"
    what = "ready" if f["name"] == "ppoll" else "B"
    return f"{f['name']} {f['file']} {f['bytes']} {what}"


def _suppressed(f: _Fields) -> str:
    return "no interrupt wanted" if f["suppressed"] else "interrupt the driver"


_LABELS: dict[str, Callable[[_Fields], str]] = {
    "vm_exit": lambda f: f"exit: {vmx_reason_name(f['reason'])}",
    "vm_entry": lambda f: "enter the guest",
    "kvm_mmio": _mmio,
    "kvm_pio": _pio,
    "kvm_cpuid": lambda f: f"CPUID leaf {f['func']:#x}",
    "kvm_hypercall": lambda f: f"hypercall {f['nr']}",
    "kvm_userspace_exit": lambda f: f"return {kvm_exit_name(f['reason'])}",
    "kvm_inj_virq": lambda f: f"inject vector {f['irq']:#x}",
    "kvm_inj_nmi": lambda f: "inject an NMI",
    "kvm_set_irq": lambda f: f"IRQ {f['gsi']} {'up' if f['level'] else 'down'}",
    "kvm_pic_set_irq": lambda f: f"8259 input {8 * f['chip'] + f['pin']}",
    "kvm_vcpu_wakeup": lambda f: "wake the vCPU",
    "kvm_fast_mmio": lambda f: "fast MMIO",
    "ioeventfd": lambda f: f"signal {f['eventfd']}",
    "irqfd": lambda f: f"irqfd: IRQ {f['gsi']}",
    "ioctl": lambda f: f"ioctl {f['request']}",
    "memory_region_ops_read": lambda f: f"{f['region']}+{f['offset']:#x} reads {f['value']:#x}",
    "memory_region_ops_write": lambda f: f"{f['region']}+{f['offset']:#x} = {f['value']:#x}",
    "device": lambda f: str(f["what"]),
    "guest_error": lambda f: f"guest error {f['rule']}",
    "virtio_set_status": lambda f: f"Status {f['status']:#x}",
    "virtio_queue_notify": lambda f: f"kick of queue {f['queue']}",
    "virtqueue_pop": lambda f: f"pop {f['queue']}, head {f['head']}",
    "virtqueue_fill": lambda f: f"used: head {f['head']}",
    "virtqueue_flush": lambda f: f"publish {f['count']} used",
    "virtio_notify": _suppressed,
    "virtio_notify_irqfd": lambda f: "signal the irqfd",
    "vhost_dev_start": lambda f: "vhost takes the queues",
    "vhost_dev_stop": lambda f: "vhost gives them back",
    "irq_line": lambda f: f"{f['device']} line {'up' if f['level'] else 'down'}",
    "syscall": _syscall,
    "sched_switch": lambda f: f"to {f['next_comm']}",
    "vhost_work": lambda f: f"vhost: {f['function']}",
    "vhost_signal": _suppressed,
    "vq_err": lambda f: f"ring broken: {f['rule']}",
    "vhost_discard": lambda f: f"dropped {f['bytes']} B",
    "tun_sendmsg": lambda f: f"{f['file']} takes {f['bytes']} B",
    "tun_recvmsg": lambda f: f"{f['file']} gives {f['bytes']} B",
    "copy": lambda f: f"copy {f['bytes']} B {f['hop']}",
    "trace_full": lambda f: "the trace is full",
}
