"""The event stream as Linux's ftrace prints its own: the file `trace` of tracefs.

Names and formats are those of Linux 6.1: arch/x86/kvm/trace.h, include/trace/events/kvm.h,
sched.h and syscalls.h; the columns are trace_print_context()'s of kernel/trace. What Linux has
no tracepoint for (copies, devices, QEMU's own events) is there as QEMU's trace backend "ftrace"
would have it, by a write to `trace_marker`.

Three things Linux knows and the stream does not: RIP at an entry (of an instruction that KVM
has not skipped it is the one at the exit), whether CPUID's leaf was found (left out), and the
arguments of a system call (there is a mark with its file, and `sys_exit` with its result).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, pairwise
from typing import Any

from toyvisor.exit_reasons import ExitReason, KvmExit
from toyvisor.trace.guest_time import HERTZ, nanoseconds, timed, waited
from toyvisor.trace.tasks import TASKS, UNKNOWN, pid_of
from toyvisor.trace.text import describe

Event = dict[str, Any]

HEADER = f"""\
# tracer: nop
#
# Time is the guest's: {HERTZ:,} instructions are a second, and sleep in HLT counts.
# kvm_entry: rip is that of the exit; behind it, if KVM skips the instruction (HLT, CPUID, VMCALL).
#
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
"""

_VMX_REASONS = {int(reason): reason.name for reason in ExitReason}
_KVM_EXITS = {int(reason): f"KVM_EXIT_{reason.name}" for reason in KvmExit}
#: Instructions that KVM finishes before the guest goes on, and their lengths.
_SKIPPED = {ExitReason.HLT: 1, ExitReason.CPUID: 2, ExitReason.VMCALL: 3}
#: System calls of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl).
_CALLS = {"read": 0, "write": 1, "ioctl": 16, "writev": 20, "ppoll": 271}
_DEFAULT_PRIO = 120


def to_ftrace(events: Iterable[Event]) -> Iterator[str]:
    """The stream as lines with their newlines, header first."""
    yield HEADER
    writer = _Writer()
    for (time, event), (_, following) in pairwise(chain(timed(events), [(0, {})])):
        comm, pid = TASKS.get(event["thread"], UNKNOWN)
        seconds, fraction = divmod(time // 1000, 1_000_000)
        start = f"{comm:>16}-{pid:<7} [000] ..... {seconds:5}.{fraction:06}: "
        for what in writer.lines(event, following):
            one_line = what.replace("\n", " ")
            yield f"{start}{one_line}\n"


class _Writer:
    """The words of one event, which may depend on those around it."""

    def __init__(self) -> None:
        self._rip: int | None = None  # where the guest goes on
        self._is_asleep = False

    def lines(self, event: Event, following: Event) -> list[str]:
        """Mostly one."""
        form = _FORMATS.get(event["event"])
        try:
            if event["event"] == "vm_exit":
                return [self._exit(event, following)]
            if event["event"] == "vm_entry":
                return [self._entry()]
            if event["event"] == "sched_switch":
                return [self._sched_switch(event)]
            if event["event"] == "syscall":
                return _syscall(event)
            if form is not None:
                return [form(event)]
        except (KeyError, TypeError, ValueError):  # a stream that somebody else wrote
            pass
        return [_mark(describe(event))]

    def _exit(self, event: Event, following: Event) -> str:
        reason, rip = event["reason"], event["rip"]
        name = _VMX_REASONS.get(reason) or hex(reason)
        text = f"kvm_exit: vcpu 0 reason {name} rip {rip:#x} "
        text += f"info1 {_qualification(event, following):#018x} info2 {0:#018x} "
        self._rip = rip + _SKIPPED.get(reason, 0)
        self._is_asleep = reason == ExitReason.HLT
        return text + f"intr_info {0:#010x} error_code {0:#010x}"

    def _entry(self) -> str:
        """Before the first exit nobody has said where the guest stands."""
        self._is_asleep = False
        where = "" if self._rip is None else f", rip {self._rip:#x}"
        return f"kvm_entry: vcpu 0{where}"

    def _sched_switch(self, event: Event) -> str:
        """A thread gives way because it sleeps; only a vCPU's may have to wait for its turn."""
        leaving, coming = event["prev_comm"], event["next_comm"]
        waits = leaving == TASKS["VCPU"].comm and not self._is_asleep
        return (
            f"sched_switch: prev_comm={leaving} prev_pid={pid_of(leaving)} "
            f"prev_prio={_DEFAULT_PRIO} prev_state={'R' if waits else 'S'} ==> "
            f"next_comm={coming} next_pid={pid_of(coming)} next_prio={_DEFAULT_PRIO}"
        )


def _qualification(event: Event, following: Event) -> int:
    """The exit qualification, as far as the stream tells it (Intel SDM vol. 3, 28.2.1).

    What kind of access it was says the event behind the exit.
    """
    if event["reason"] == ExitReason.IO_INSTRUCTION:
        is_read = following.get("rw") == "read"
        is_string = following.get("event") == "kvm_pio" and following.get("count", 1) > 1
        string_bits = 0b110000 if is_string else 0
        return int(event["address"] << 16 | string_bits | is_read << 3 | event["size"] - 1)
    if event["reason"] == ExitReason.EPT_VIOLATION:
        linear_address_valid = 0b1_1000_0000
        is_write = following.get("event") == "kvm_mmio" and following.get("type") == "write"
        return linear_address_valid | (0b10 if is_write else 0b01)
    return 0


def _mark(text: str) -> str:
    return f"tracing_mark_write: {text}"


def _syscall(e: Event) -> list[str]:
    """The call as QEMU would mark it, and raw_syscalls:sys_exit."""
    name = str(e["name"])
    call = name.partition("(")[0]
    if call not in _CALLS:
        return [_mark(describe(e))]
    return [_mark(f"{name} {e['file']}"), f"sys_exit: NR {_CALLS[call]} = {e['bytes']:d}"]


def _kvm_pio(e: Event) -> str:
    more = "(...)" if e["count"] > 1 else ""
    what = "write" if e["rw"] == "write" else "read"
    return (
        f"kvm_pio: pio_{what} at {e['port']:#x} size {e['size']:d} count {e['count']:d} "
        f"val {e['val']:#x} {more}"
    )


def _kvm_cpuid(e: Event) -> str:
    registers = " ".join(f"{name} {e[name]:x}" for name in ("rax", "rbx", "rcx", "rdx"))
    return f"kvm_cpuid: func {e['func']:x} idx {e['idx']:x} {registers}"


def _kvm_hypercall(e: Event) -> str:
    arguments = " ".join(f"{name} {e[name]:#x}" for name in ("a0", "a1", "a2", "a3"))
    return f"kvm_hypercall: nr {e['nr']:#x} {arguments}"


def _kvm_userspace_exit(e: Event) -> str:
    reason = _KVM_EXITS.get(e["reason"]) or hex(e["reason"])
    return f"kvm_userspace_exit: reason {reason} ({e['reason']:d})"


_FORMATS: dict[str, Callable[[Event], str]] = {
    "kvm_mmio": lambda e: (
        f"kvm_mmio: mmio {e['type']} len {e['len']:d} gpa {e['gpa']:#x} val {e['val']:#x}"
    ),
    "kvm_pio": _kvm_pio,
    "kvm_cpuid": _kvm_cpuid,
    "kvm_hypercall": _kvm_hypercall,
    "kvm_userspace_exit": _kvm_userspace_exit,
    "kvm_inj_virq": lambda e: f"kvm_inj_virq: IRQ {e['irq']:#x}",
    "kvm_set_irq": lambda e: (
        f"kvm_set_irq: gsi {e['gsi']:d} level {e['level']:d} source {e['source']:d}"
    ),
    "kvm_pic_set_irq": describe,
    "kvm_fast_mmio": describe,
    "kvm_vcpu_wakeup": lambda e: (
        f"kvm_vcpu_wakeup: wait time {nanoseconds(waited(e))} ns, polling valid"
    ),
}
