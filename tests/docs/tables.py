"""The parts of the documentation that are made from the code.

A page has them between two comments:

    <!-- generated: NAME -->
    ...
    <!-- end -->

`python tests/docs/regenerate.py` renews them; a test fails when they are out of date.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence

from pages import ROOT

from toyvisor.guest import diagnostics, layout, preprocessor, source
from toyvisor.guest.library import guest_programs_dir
from toyvisor.guest.program import (
    DEFAULT_CAPTURE,
    DEFAULT_MEMORY,
    DEFAULT_ORIGIN,
    EXPECTATIONS,
    FRAMES,
    MAX_MEMORY,
    MIN_MEMORY,
    read_machine,
)
from toyvisor.guest.source import read_source
from toyvisor.host import vhost_net  # noqa: F401  (its rules belong to the catalogue)
from toyvisor.kvm import i8254_registers, i8259_registers
from toyvisor.kvm.port_register import PortRegister
from toyvisor.learn import kvm_differences
from toyvisor.modes import CpuMode
from toyvisor.qemu import boot
from toyvisor.qemu.catalog import DEVICE_TYPES, FIRST_IRQ, MMIO_BASE, MMIO_WINDOW
from toyvisor.qemu.devices import mmio_nic_registers, serial_registers
from toyvisor.qemu.devices.registers import Register
from toyvisor.qemu.virtio import net_format
from toyvisor.qemu.virtio import registers as virtio_mmio
from toyvisor.trace import events, exit_records
from toyvisor.trace.events import EventKind, Layer
from toyvisor.ui.stepper import keys
from toyvisor.virtio import net
from toyvisor.virtio.constants import Feature
from toyvisor.virtio.errors import Rule

WIDTH = 96
_SECTION = re.compile(r"(<!-- generated: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def renew(text: str) -> str:
    """A page with its generated parts as they should be."""
    return _SECTION.sub(lambda m: f"{m[1]}{TABLES[m[2]]()}\n{m[4]}", text)


def used(text: str) -> set[str]:
    """The names of the generated parts in a page."""
    return {match[2] for match in _SECTION.finditer(text)}


def fenced(lines: Iterable[str]) -> str:
    return "\n".join(["```text", *(line.rstrip() for line in lines), "```"])


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned columns; the last one wraps below itself."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    left = sum(widths) + 2 * len(widths)
    lines = []
    for row in rows:
        head = "".join(f"{cell:<{w}}  " for cell, w in zip(row, widths, strict=False))
        parts = textwrap.wrap(row[-1], WIDTH - left) or [""]
        lines += [(head if n == 0 else " " * left) + part for n, part in enumerate(parts)]
    return lines


def bullet(head: str, text: str) -> str:
    return textwrap.fill(
        f"- {head}: {text}", WIDTH, subsequent_indent="  ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


# Registers ------------------------------------------------------------------------------


def registers(table: Iterable[Register], digits: int) -> str:
    rows = [("offset", "name", "access", "reset", "meaning")]
    for register in table:
        access = register.access if register.width <= 8 else f"{register.access}, {register.width}"
        reset = f"{register.reset:#x}" if register.reset else ""
        rows.append(
            (f"0x{register.offset:0{digits}x}", register.name, access, reset, register.meaning)
        )
        for bits in register.bits:
            high = bits.low + bits.width - 1
            place = f"{bits.low}" if bits.width == 1 else f"{bits.low}-{high}"
            rows.append(("", f"  {place:<4} {bits.name}", "", "", bits.meaning))
    return fenced(columns(rows))


def kernel_ports(table: Iterable[PortRegister]) -> str:
    rows = [("port", "name", "access", "meaning")]
    for register in table:
        rows.append((f"{register.port:#x}", register.name, register.access, register.meaning))
        for bits in register.bits:
            low = (bits.mask & -bits.mask).bit_length() - 1
            high = bits.mask.bit_length() - 1
            place = f"{low}" if low == high else f"{low}-{high}"
            rows.append(("", f"  {place:<4} {bits.name}", "", bits.meaning))
    return fenced(columns(rows))


def devices() -> str:
    rows = [("name", "registers", "irq", "options", "what it is")]
    for name, kind in DEVICE_TYPES.items():
        if kind.port is None:
            place, irq = "a window", f"from {FIRST_IRQ}"
        else:
            last = kind.port + kind.ports - 1
            place = f"port {kind.port:#x}" + (f"-{last:#x}" if kind.ports > 1 else "")
            irq = "" if kind.irq is None else str(kind.irq)
        rows.append((name, place, irq, ", ".join(kind.options), kind.summary))
    return fenced(columns(rows))


def features() -> str:
    names = {int(feature): f"VIRTIO_F_{feature.name}" for feature in Feature}
    names |= {net_format.MAC: "VIRTIO_NET_F_MAC", net_format.STATUS: "VIRTIO_NET_F_STATUS"}
    names[net.MRG_RXBUF] = "VIRTIO_NET_F_MRG_RXBUF"
    rows = [("bit", "feature", "what for")]
    for bit in range(net_format.FEATURES.bit_length()):
        if net_format.FEATURES >> bit & 1:
            name = names[1 << bit].replace("F_INDIRECT", "RING_F_INDIRECT")
            name = name.replace("VIRTIO_F_EVENT", "VIRTIO_RING_F_EVENT")
            name = name.replace("VIRTIO_RING_RING", "VIRTIO_RING")
            rows.append((str(bit), name, FEATURE_MEANINGS[bit]))
    return fenced(columns(rows))


FEATURE_MEANINGS = {
    5: "the card has a MAC address, in its configuration",
    15: "a received frame may lie in several buffers",
    16: "the link's state is in its configuration",
    28: "a descriptor may name a table of descriptors",
    29: "each side says at which index it wants to hear of the other next",
    32: "the modern interface; a driver must accept it",
}


def rules(prefix: str) -> Callable[[], str]:
    def table() -> str:
        chosen = [r for name, r in Rule.catalogue.items() if name.startswith(prefix)]
        return "\n".join(
            bullet(f"`{rule.name}` ({rule.section.split(', ')[1]})", rule.hint) for rule in chosen
        )

    return table


# Guest programs -------------------------------------------------------------------------


def machine_keys() -> str:
    origins = ", ".join(f"{origin:#x} ({mode})" for mode, origin in DEFAULT_ORIGIN.items())
    rows = [
        ("key", "type", "default", "what it says"),
        ("mode", "text", "must be there", f"one of {', '.join(CpuMode)}"),
        ("title", "text", '""', "a line for people; `toyvisor programs` shows it"),
        (
            "memory",
            "size",
            f'"{DEFAULT_MEMORY >> 20}M"',
            f'RAM, a text like "64K", "2M", "1G" or a number of bytes; whole pages, from '
            f"{MIN_MEMORY >> 10}K to {MAX_MEMORY >> 30}G",
        ),
        ("devices", "list", "[]", "names, or tables with a `type` and the device's options"),
        ("registers", "table", "{}", "first values of general registers and rflags"),
        ("origin", "number", "by mode", f"load address: {origins}"),
        ("expect", "text", f'"{EXPECTATIONS[0]}"', f"how it is meant to end: one of "
         f"{', '.join(EXPECTATIONS)}"),
        ("frames", "text", f'"{FRAMES[0]}"', "where the frames of --net pcap:IN, are: in memory, "
         f"to be sent, or they come in: one of {', '.join(FRAMES)}"),
        ("capture", "text", f'"{DEFAULT_CAPTURE}"', "the frames if nobody says --net: a file "
         "beside the program, or a shipped one"),
    ]  # fmt: skip
    return fenced(columns(rows))


def boot_state() -> str:
    modes = list(CpuMode)
    state = {mode: boot.boot_sregs(mode) for mode in modes}
    rows = [("", *map(str, modes))]
    rows.append(("code", *(f"{mode.bits}-bit" for mode in modes)))
    rows.append(("rip", *(f"{DEFAULT_ORIGIN[mode]:#x}, or _start" for mode in modes)))
    rows.append(("rsp", *(f"{boot.BOOT_STACK_POINTER:#x}" for _ in modes)))
    rows.append(("rflags", *("0x2: interrupts off" for _ in modes)))
    for name in ("cr0", "cr3", "cr4", "efer"):
        rows.append((name, *(f"{getattr(state[mode], name):#x}" for mode in modes)))
    for name in ("cs", "ds"):
        label = "ds es fs gs ss" if name == "ds" else name
        rows.append((label, *(f"{getattr(state[mode], name).selector:#x}" for mode in modes)))
    rows.append(("gdt", *(_table(state[mode].gdt) for mode in modes)))
    rows.append(("idt", *(_table(state[mode].idt) for mode in modes)))
    rows.append(("others", *("0" for _ in modes)))
    return fenced(columns(rows))


def _table(table: object) -> str:
    base, limit = (getattr(table, name) for name in ("base", "limit"))
    return f"at {base:#x}, limit {limit:#x}" if limit else "none"


def windows() -> str:
    rows = [("window", "guest-physical", "irq")]
    for slot in range(3):
        first = MMIO_BASE + slot * MMIO_WINDOW
        rows.append((str(slot), f"{first:#x}-{first + MMIO_WINDOW - 1:#x}", str(FIRST_IRQ + slot)))
    return fenced(columns(rows))


def includes() -> str:
    rows = [("file", "what it has")]
    for path in sorted(guest_programs_dir().glob("*.inc")):
        first = path.read_text().splitlines()[0]
        rows.append((path.name, first.split(": ", 1)[1].rstrip(".")))
    return fenced(columns(rows))


def broken() -> str:
    rows = [("program", "its mistake")]
    for path in sorted((guest_programs_dir() / "broken").glob("*.s")):
        rows.append((path.name, read_machine(read_source(path)).title))
    return fenced(columns(rows))


def assembler_limits() -> str:
    rows = [
        ("at most", "of"),
        (f"{source.MAX_SOURCE_BYTES >> 20} MiB", "source in one file"),
        (f"{source.MAX_LINE_CHARACTERS}", "characters in a line"),
        (f"{preprocessor.MAX_LINES}", "lines, after macros, repetitions and includes"),
        (f"{preprocessor.MAX_DEPTH}", "macros or includes inside each other"),
        (f"{layout.MAX_IMAGE >> 20} MiB", "program"),
        (f"{diagnostics.MAX_ERRORS}", "errors told at once"),
    ]
    return fenced(columns(rows))


# The event stream -----------------------------------------------------------------------

EVENT_MEANINGS = {
    "vm_exit": "the guest left: VMX exit reason, where it stood, and what it touched",
    "vm_entry": "the guest goes on",
    "kvm_mmio": "KVM decoded a load or store: read, write or unsatisfied-read (QEMU has to answer)",
    "kvm_pio": "KVM decoded IN or OUT: rw is read or write",
    "kvm_cpuid": "KVM answered CPUID",
    "kvm_hypercall": "KVM answered VMCALL; ret is the signed result",
    "kvm_inj_virq": "KVM injects an interrupt at the next entry: its vector",
    "kvm_inj_nmi": "KVM injects a non-maskable interrupt",
    "kvm_set_irq": "an interrupt line of the controllers changes, whoever drives it",
    "kvm_vcpu_wakeup": "a vCPU that slept in HLT goes on; waited: guest time",
    "kvm_fast_mmio": "a store hit an ioeventfd of any width: KVM did not even look at it",
    "ioeventfd": "a store hit an ioeventfd: KVM signals it, and the guest goes on",
    "irqfd": "an eventfd was signalled that KVM makes an interrupt of",
    "kvm_pic_set_irq": "an interrupt line came to the 8259s; coalesced: one was waiting already",
    "kvm_userspace_exit": "ioctl(KVM_RUN) returns to QEMU with this KVM_EXIT_* number",
    "ioctl": "QEMU calls into KVM",
    "memory_region_ops_read": "QEMU had a device answer a load",
    "memory_region_ops_write": "QEMU handed a store to a device",
    "device": "a device did something worth telling, in words",
    "trace_full": "the trace has reached its limit; the run goes on, unrecorded",
    "guest_error": "the guest broke a rule",
    "virtio_set_status": "the driver wrote Status, or reset the device; this is its value now",
    "virtio_queue_notify": "the kick",
    "virtqueue_pop": "the device took a chain: its head, and how many buffers of each kind",
    "virtqueue_fill": "the device wrote an element of the used ring",
    "virtqueue_flush": "the device moved used.idx: the driver may have so many buffers back",
    "virtio_notify": "the device would tell the driver, unless that is suppressed",
    "virtio_notify_irqfd": "QEMU tells the driver by the irqfd",
    "vhost_dev_start": "QEMU hands the queues to vhost",
    "vhost_dev_stop": "QEMU takes them back",
    "irq_line": "a device's interrupt line changed",
    "syscall": "QEMU made a system call on a file of the host; bytes is its result",
    "sched_switch": "the processor goes from one of the host's threads to another",
    "vhost_work": "vhost's worker turns to this function",
    "vhost_signal": "vhost would tell the driver, unless that is suppressed",
    "vq_err": "a ring broke a rule, and vhost gave it up",
    "vhost_discard": "vhost threw a frame away",
    "tun_sendmsg": "vhost gives a frame to the tap",
    "tun_recvmsg": "vhost takes a frame from the tap",
    "copy": "bytes moved; the hop decides the layer",
}


def kinds(module: object) -> list[EventKind]:
    return [value for value in vars(module).values() if isinstance(value, EventKind)]


def event_kinds() -> str:
    rows = [("event", "layer", "fields", "what happened")]
    for kind in kinds(events):
        layer = "by hop" if kind.name == "copy" else Layer(kind.layer).name
        fields = " ".join(kind.fields) or "-"
        lines = textwrap.wrap(fields, 26)
        rows.append((kind.name, layer, lines[0], EVENT_MEANINGS[kind.name]))
        rows += [("", "", line, "") for line in lines[1:]]
    return fenced(columns(rows))


def records() -> str:
    own = {kind.name for kind in kinds(events)}
    rows = [("record", "its fields")]
    for kind in kinds(exit_records):
        if kind.name not in own:
            rows.append((kind.name, " ".join(kind.fields) or "-"))
    return fenced(columns(rows))


def program_differences() -> str:
    """What may differ between the two KVMs, by reason: the programs, and what of them."""
    by_reason: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for program, entries in kvm_differences.PROGRAMS.items():
        for entry in entries:
            facts = tuple(fact for fact in kvm_differences.FACTS if fact in entry.facts)
            by_reason.setdefault((entry.cause, entry.reason, facts), []).append(program)
    lines = []
    for (cause, reason, facts), programs in sorted(by_reason.items()):
        what = "everything" if len(facts) == len(kvm_differences.FACTS) else ", ".join(facts)
        for label, text in (("", f"{cause}: {reason}"), ("  in", ", ".join(programs)),
                            ("  may differ", what)):  # fmt: skip
            start = f"{label} " if label else ""
            indent = " " * (len(start) + (2 if not label else 0))
            lines += textwrap.wrap(start + text, WIDTH, subsequent_indent=indent)
    return fenced(lines)


def general_differences() -> str:
    lines = []
    for what, reason in kvm_differences.RULES.items():
        lines.append(what)
        lines += textwrap.wrap(reason, WIDTH, initial_indent="    ", subsequent_indent="    ")
    return fenced(lines)


def known_differences() -> str:
    """Those of the instruction matrix: tests/kvm/test_against_linux.py, read as text."""
    tree = ast.parse((ROOT / "tests" / "kvm" / "test_against_linux.py").read_text("utf-8"))
    table = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "KNOWN_DIFFERENCES"
    )
    reasons: dict[str, list[str]] = {}
    for pattern, reason in ast.literal_eval(table).items():
        reasons.setdefault(reason, []).append(pattern.removesuffix(" .*").removesuffix(".*"))
    lines = []
    for reason, patterns in reasons.items():
        lines += patterns
        lines += textwrap.wrap(reason, WIDTH, initial_indent="    ", subsequent_indent="    ")
    return fenced(lines)


def stepper_keys() -> str:
    """The keys of the full-screen stepper: ui/stepper/keys.py."""
    lines = []
    for heading, commands in keys.COMMANDS.items():
        rows = [(command.key_names, command.title, command.meaning) for command in commands]
        key_width = max(len(key) for key, _, _ in rows)
        lines.append(f"{heading}:")
        for key, title, meaning in rows:
            head = f"  {key:<{key_width}}  {title}: "
            lines += textwrap.wrap(
                meaning, 98, initial_indent=head, subsequent_indent=" " * (key_width + 6)
            )
    return fenced(lines)


TABLES: dict[str, Callable[[], str]] = {
    "mmio-nic": lambda: registers(mmio_nic_registers.REGISTERS, 3),
    "virtio-mmio": lambda: registers(virtio_mmio.REGISTERS.values(), 3),
    "serial": lambda: registers(serial_registers.REGISTERS, 1),
    "pic": lambda: kernel_ports(i8259_registers.REGISTERS),
    "pit": lambda: kernel_ports(i8254_registers.REGISTERS),
    "devices": devices,
    "features": features,
    "rules-split": rules("virtio.split."),
    "rules-mmio": rules("virtio.mmio."),
    "rules-config": rules("virtio.config."),
    "rules-notify": rules("virtio.notify."),
    "rules-status": rules("virtio.status."),
    "rules-features": rules("virtio.features."),
    "rules-net": rules("virtio.net.tx-"),
    "rules-net-receive": rules("virtio.net.rx-"),
    "rules-vhost": rules("vhost."),
    "machine-keys": machine_keys,
    "boot-state": boot_state,
    "windows": windows,
    "includes": includes,
    "broken": broken,
    "assembler-limits": assembler_limits,
    "events": event_kinds,
    "records": records,
    "kvm-programs": program_differences,
    "kvm-rules": general_differences,
    "kvm-instructions": known_differences,
    "stepper-keys": stepper_keys,
}
FIGURE = ROOT / "docs" / "compare.svg"


def figure() -> str:
    """docs/compare.svg: what `toyvisor compare --svg docs/compare.svg` writes."""
    from toyvisor.learn.experiment import run_experiment
    from toyvisor.learn.ladder import setups_of
    from toyvisor.learn.setups import Pattern
    from toyvisor.ui.compare_svg import to_svg

    return to_svg(run_experiment(setups=setups_of(Pattern)))
