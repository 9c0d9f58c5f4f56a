"""ftrace text, held against the format strings of Linux's own tracepoints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trace_runs import ALL, event, run, strange_events

from toyvisor.errors import InputError
from toyvisor.exit_reasons import ExitReason, KvmExit
from toyvisor.host.scheduler import VCPU_COMM
from toyvisor.host.sender import DEFAULT_INTERVAL
from toyvisor.qemu.main_loop import MainLoop
from toyvisor.trace.ftrace import to_ftrace
from toyvisor.trace.guest_time import nanoseconds, timed
from toyvisor.trace.tasks import TASKS

# TP_printk() of Linux 6.1: arch/x86/kvm/trace.h, include/trace/events/{kvm,sched,syscalls}.h.
FORMATS = {
    "kvm_entry": "vcpu %u, rip 0x%lx",
    "kvm_exit": "vcpu %u reason %s%s%s rip 0x%lx info1 0x%016llx info2 0x%016llx "
    "intr_info 0x%08x error_code 0x%08x",
    "kvm_mmio": "mmio %s len %u gpa 0x%llx val 0x%llx",
    "kvm_pio": "pio_%s at 0x%x size %d count %d val 0x%x %s",
    "kvm_fast_mmio": "fast mmio at gpa 0x%llx",
    "kvm_cpuid": "func %x idx %x rax %lx rbx %lx rcx %lx rdx %lx",  # and whether it was found
    "kvm_hypercall": "nr 0x%lx a0 0x%lx a1 0x%lx a2 0x%lx a3 0x%lx",
    "kvm_inj_virq": "%s 0x%x%s",
    "kvm_set_irq": "gsi %u level %d source %d",
    "kvm_pic_set_irq": "chip %u pin %u (%s%s)%s",
    "kvm_userspace_exit": "reason %s (%d)",
    "kvm_vcpu_wakeup": "%s time %lld ns, polling %s",
    "sched_switch": "prev_comm=%s prev_pid=%d prev_prio=%d prev_state=%s%s ==> "
    "next_comm=%s next_pid=%d next_prio=%d",
    "sys_exit": "NR %ld = %ld",
    "tracing_mark_write": "%s",
}
CONVERSIONS = {"u": r"\d+", "d": r"-?\d+", "s": ".*?"}
# trace_print_context() and trace_print_lat_fmt() of kernel/trace/trace_output.c
LINE = re.compile(
    r"(?P<comm>.{16})-(?P<pid>\d+) +\[(?P<cpu>\d{3})\] (?P<flags>[dDbB.][NnpLl.][ZzHhs.][\d.][\d.])"
    r" +(?P<seconds>\d+)\.(?P<fraction>\d{6}): (?P<name>\w+): (?P<what>.*)\n"
)


def pattern(text: str) -> re.Pattern[str]:
    """The lines that a format string of the kernel's printf can print."""

    def conversion(match: re.Match[str]) -> str:
        width, kind = match[1], match[2]
        if kind == "x":
            return f"[0-9a-f]{{{int(width)}}}" if width else "(?:0|[1-9a-f][0-9a-f]*)"
        return CONVERSIONS[kind]

    parts = re.split(r"(%\d*l*[udxs])", text)
    return re.compile(
        "".join(
            conversion(match) if (match := re.fullmatch(r"%(\d*)l*([udxs])", part))
            else re.escape(part)
            for part in parts
        )
    )  # fmt: skip


PATTERNS = {name: pattern(text) for name, text in FORMATS.items()}


TRACEFS = Path("/sys/kernel/tracing/events")
GROUPS = {"sched_switch": "sched", "sys_exit": "raw_syscalls"}


def running_kernel_s(name: str) -> str:
    """The format of an event of the kernel that runs here, with what is printed."""
    path = TRACEFS / GROUPS.get(name, "kvm") / name / "format"
    try:
        text = path.read_text()
    except OSError as error:
        pytest.skip(f"no tracefs to read here: {error.strerror}")
    return text.split("print fmt: ")[1]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "tracing_mark_write"])
def test_the_formats_are_those_of_the_running_kernel(name):
    """Newer kernels have more at the end of kvm_entry and kvm_exit."""
    assert running_kernel_s(name).startswith(f'"{FORMATS[name]}')


def test_the_names_of_reasons_are_those_of_the_running_kernel():
    vmx = running_kernel_s("kvm_exit").split("REC->isa == 1")[1].split(") : ")[0]
    names = {int(number): name for number, name in re.findall(r'{ (\d+), "(\w+)" }', vmx)}
    assert {reason: names[reason] for reason in ExitReason} == {r: r.name for r in ExitReason}
    text = running_kernel_s("kvm_userspace_exit").replace('" "', "")
    names = {int(number): name for number, name in re.findall(r'{ (\d+), "(\w+)" }', text)}
    known = [reason for reason in KvmExit if reason in names]
    assert len(known) > 10
    assert all(names[reason] == f"KVM_EXIT_{reason.name}" for reason in known)


def parsed(events):
    """The lines behind the header, in their columns."""
    lines = list(to_ftrace(events))[1:]
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), lines[matches.index(None)]
    return matches


def said(*events):
    return [f"{match['name']}: {match['what']}" for match in parsed(events)]


@pytest.mark.parametrize(("name", "device"), ALL)
def test_every_line_is_one_that_linux_could_have_printed(name, device):
    events = run(name, device).events
    lines = parsed(events)
    first = next(line for line in lines if line["name"] == "kvm_entry")
    assert first["what"] == "vcpu 0"
    for line in lines:
        if line is not first:
            assert PATTERNS[line["name"]].fullmatch(line["what"]), line[0]
    assert len(lines) == len(events) + sum(line["name"] == "sys_exit" for line in lines)


def test_every_format_is_tried():
    found = {line["name"] for name, device in ALL for line in parsed(run(name, device).events)}
    missing = set(FORMATS) - found
    assert missing == {"kvm_fast_mmio"}, "no shipped program has an ioeventfd without a length"
    assert said(event("kvm_fast_mmio", gpa=0xD0000050)) == [
        "kvm_fast_mmio: fast mmio at gpa 0xd0000050"
    ]


def test_one_store():
    lines = said(*run("one_store").events)
    assert lines[:8] == [
        "tracing_mark_write: ioctl: KVM_RUN",
        "kvm_entry: vcpu 0",
        "kvm_exit: vcpu 0 reason EPT_VIOLATION rip 0x10000a info1 0x0000000000000182 "
        "info2 0x0000000000000000 intr_info 0x00000000 error_code 0x00000000",
        "kvm_mmio: mmio write len 4 gpa 0xd0000018 val 0x12345678",
        "tracing_mark_write: copy: guest->kvm 4 bytes",
        "kvm_userspace_exit: reason KVM_EXIT_MMIO (6)",
        "tracing_mark_write: copy: kvm->qemu 4 bytes",
        "tracing_mark_write: memory_region_ops_write: mmio-nic offset 0x18 value 0x12345678 size 4",
    ]


@pytest.mark.parametrize(
    ("following", "info1"),
    [
        (event("kvm_pio", rw="write", count=1), 0x03F80000),
        (event("kvm_pio", rw="read", count=1), 0x03F80008),
        (event("kvm_pio", rw="write", count=5), 0x03F80030),  # REP OUTS
        (event("kvm_userspace_exit", reason=2), 0x03F80000),
    ],
)
def test_the_qualification_of_a_port_exit(following, info1):
    """Intel SDM vol. 3, table 28-5: size - 1, direction, string, REP, port."""
    leaving = event("vm_exit", reason=30, rip=0x1007, address=0x3F8, size=1)
    assert f"info1 {info1:#018x} " in said(leaving, following)[0]


def test_the_qualification_of_a_load_outside_ram():
    leaving = event("vm_exit", reason=48, rip=1, address=0xD0000000, size=4)
    assert "info1 0x0000000000000181 " in said(leaving, event("kvm_mmio", type="read"))[0]


def test_an_entry_goes_on_where_the_guest_left_or_behind_what_kvm_skipped():
    found = []
    for reason, rip in ((48, 0x10), (12, 0x20), (10, 0x30), (18, 0x40)):
        leaving = event("vm_exit", reason=reason, rip=rip, address=0, size=0)
        found.append(said(leaving, event("vm_entry"))[1])
    assert found == [f"kvm_entry: vcpu 0, rip {rip:#x}" for rip in (0x10, 0x21, 0x32, 0x43)]


def test_system_calls_have_their_number_and_their_result():
    assert said(
        event("syscall", name="writev", file="tap0", bytes=342),
        event("syscall", name="read(eventfd)", file="kick", bytes=-11),
        event("syscall", name="splice", file="tap0", bytes=1),
    ) == [
        "tracing_mark_write: writev tap0",
        "sys_exit: NR 20 = 342",
        "tracing_mark_write: read(eventfd) kick",
        "sys_exit: NR 0 = -11",
        "tracing_mark_write: syscall: splice tap0 1 bytes",
    ]


def test_a_vcpu_that_sleeps_gives_way_otherwise_than_one_whose_turn_is_over():
    away = {"prev_comm": "CPU 0/KVM", "next_comm": "qemu-system-x86"}
    asleep = said(event("vm_exit", reason=12, rip=1), event("sched_switch", **away))[1]
    assert "prev_state=S ==> next_comm=qemu-system-x86 next_pid=1" in asleep
    waiting = said(event("vm_exit", reason=52, rip=1), event("sched_switch", **away))[1]
    assert "prev_state=R ==>" in waiting


def test_the_time_is_the_guest_s():
    events = run("virtio_net_rx").events
    lines = parsed(events)
    wakeup = next(line for line in lines if line["name"] == "kvm_vcpu_wakeup")
    waited = next(e["waited"] for e in events if e["event"] == "kvm_vcpu_wakeup")
    assert wakeup["what"] == f"wait time {nanoseconds(waited)} ns, polling valid"
    at = next(time for time, e in timed(events) if e["event"] == "kvm_vcpu_wakeup")
    assert int(wakeup["seconds"] + wakeup["fraction"]) == at // 1000
    microseconds = [int(line["seconds"] + line["fraction"]) for line in lines]
    assert microseconds == sorted(microseconds)
    last_frame = nanoseconds(29 * DEFAULT_INTERVAL) // 1000
    assert last_frame < microseconds[-1] < last_frame + 200


def test_the_tasks_are_those_that_the_scheduler_names():
    assert TASKS["VCPU"].comm == VCPU_COMM
    assert TASKS["MAIN_LOOP"].comm == MainLoop.name
    vhost = run("virtio_net_rx", "virtio-net,vhost=on").events
    comms = {e["next_comm"] for e in vhost if e["event"] == "sched_switch"}
    assert comms == {task.comm for task in TASKS.values()}


def test_the_header_is_ftrace_s():
    header = next(to_ftrace([]))
    lines = header.splitlines()
    assert lines[0] == "# tracer: nop"
    assert all(line.startswith("#") for line in lines)
    columns = lines[-2]
    assert columns.split() == ["#", "TASK-PID", "CPU#", "|||||", "TIMESTAMP", "FUNCTION"]
    line = list(to_ftrace([event("vm_entry")]))[1]
    assert columns.index("|||||") == line.index(".....")


@given(st.lists(strange_events))
def test_events_that_somebody_else_wrote_are_lines_as_well(events):
    lines = list(to_ftrace(events))[1:]
    assert len(events) <= len(lines) <= 2 * len(events)
    assert all(line.count("\n") == 1 for line in lines)


def test_a_clock_that_can_not_be():
    with pytest.raises(InputError):
        list(to_ftrace([event("copy", clock=-5)]))
