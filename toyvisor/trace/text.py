"""The event stream as text, in the words of ftrace and QEMU's log where they have them.

Formats: Linux, arch/x86/kvm/trace.h and include/trace/events/kvm.h; QEMU, */trace-events.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import errorcode
from typing import Any

from toyvisor.exit_reasons import ExitReason, KvmExit

Event = dict[str, Any]

_VMX_REASONS = {int(reason): reason.name for reason in ExitReason}
_KVM_EXITS = {int(reason): f"KVM_EXIT_{reason.name}" for reason in KvmExit}


def _vm_exit(e: Event) -> str:
    reason = _VMX_REASONS.get(e["reason"], str(e["reason"]))
    return f"kvm_exit: vcpu 0 reason {reason} rip {e['rip']:#x} address {e['address']:#x}"


def _kvm_mmio(e: Event) -> str:
    return f"kvm_mmio: mmio {e['type']} len {e['len']} gpa {e['gpa']:#x} val {e['val']:#x}"


def _kvm_pio(e: Event) -> str:
    return (
        f"kvm_pio: pio_{e['rw']} at {e['port']:#x} size {e['size']} "
        f"count {e['count']} val {e['val']:#x}"
    )


def _kvm_cpuid(e: Event) -> str:
    registers = " ".join(f"{name} {e[name]:#x}" for name in ("rax", "rbx", "rcx", "rdx"))
    return f"kvm_cpuid: func {e['func']:#x} idx {e['idx']:#x} {registers}"


def _kvm_hypercall(e: Event) -> str:
    arguments = " ".join(f"{name} {e[name]:#x}" for name in ("a0", "a1", "a2", "a3"))
    return f"kvm_hypercall: nr {e['nr']:#x} {arguments} ret {e['ret']}"


def _kvm_pic_set_irq(e: Event) -> str:
    trigger = "level" if e["elcr"] >> e["pin"] & 1 else "edge"
    masked = "|masked" if e["imr"] >> e["pin"] & 1 else ""
    coalesced = " (coalesced)" if e["coalesced"] else ""
    return f"kvm_pic_set_irq: chip {e['chip']} pin {e['pin']} ({trigger}{masked}){coalesced}"


def _userspace_exit(e: Event) -> str:
    number = e["reason"]
    return f"kvm_userspace_exit: reason {_KVM_EXITS.get(number, '?')} ({number})"


def _region(e: Event) -> str:
    return (
        f"{e['event']}: {e['region']} offset {e['offset']:#x} "
        f"value {e['value']:#x} size {e['size']}"
    )


def _syscall(e: Event) -> str:
    """`bytes` is what the call returned: below 0 an errno, for ppoll the ready files."""
    name, file, result = e["name"], e["file"], e["bytes"]
    if result < 0:
        return f"syscall: {name} {file} -{errorcode.get(-result, -result)}"
    return f"syscall: {name} {file} {result} {'ready' if name == 'ppoll' else 'bytes'}"


_FORMATS: dict[str, Callable[[Event], str]] = {
    "vm_exit": _vm_exit,
    "vm_entry": lambda e: "kvm_entry: vcpu 0",
    "kvm_mmio": _kvm_mmio,
    "kvm_pio": _kvm_pio,
    "kvm_cpuid": _kvm_cpuid,
    "kvm_hypercall": _kvm_hypercall,
    "kvm_pic_set_irq": _kvm_pic_set_irq,
    "kvm_inj_virq": lambda e: f"kvm_inj_virq: IRQ {e['irq']:#x}",
    "kvm_userspace_exit": _userspace_exit,
    "kvm_fast_mmio": lambda e: f"kvm_fast_mmio: fast mmio at gpa {e['gpa']:#x}",
    "ioeventfd": lambda e: (
        f"ioeventfd: {e['eventfd']} len {e['len']} addr {e['addr']:#x} val {e['val']:#x}"
    ),
    "irqfd": lambda e: f"irqfd: {e['eventfd']} gsi {e['gsi']}",
    "memory_region_ops_read": _region,
    "memory_region_ops_write": _region,
    "ioctl": lambda e: f"ioctl: {e['request']}",
    "copy": lambda e: f"copy: {e['hop']} {e['bytes']} bytes",
    "syscall": _syscall,
    "sched_switch": lambda e: (
        f"sched_switch: prev_comm={e['prev_comm']} ==> next_comm={e['next_comm']}"
    ),
    "vhost_discard": lambda e: f"vhost_discard: {e['queue']} {e['bytes']} bytes: {e['what']}",
    "vq_err": lambda e: f"vq_err: {e['queue']}: {e['rule']}: {e['what']}",
    "tun_sendmsg": lambda e: f"tun_sendmsg: {e['file']} {e['bytes']} bytes",
    "tun_recvmsg": lambda e: f"tun_recvmsg: {e['file']} {e['bytes']} bytes",
    "device": lambda e: f"{e['device']}: {e['what']}",
    "guest_error": lambda e: f"guest_error: {e['device']}: {e['rule']}: {e['what']}",
}
_FIXED = ("seq", "clock", "layer", "thread", "event")


def to_text(event: Event) -> str:
    """One event as a line: sequence number, guest instructions, layer, what happened."""
    return f"{event['seq']:>6} {event['clock']:>8} {event['layer']:<5} {describe(event)}"


def describe(event: Event) -> str:
    """What happened, in the words of whoever has a trace event for it."""
    form = _FORMATS.get(event["event"])
    if form is not None:
        try:
            return form(event)
        except (KeyError, TypeError, ValueError):  # a stream that somebody else wrote
            pass
    return _generic(event)


def _generic(event: Event) -> str:
    fields = " ".join(f"{name} {value}" for name, value in event.items() if name not in _FIXED)
    return f"{event['event']}: {fields}".rstrip(": ")
