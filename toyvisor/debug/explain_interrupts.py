"""Interrupts on their way into the guest, and KVM's short cuts (ioeventfd, irqfd), explained."""

from __future__ import annotations

from toyvisor.debug.explain_scene import EventExplainer, Happening, byte_count, value_of
from toyvisor.debug.explanation import Explanation
from toyvisor.debug.views.vector_table import VectorTable
from toyvisor.kvm.exceptions import exception_name

_VMX = "Linux arch/x86/kvm/vmx/vmx.c"
_X86 = "Linux arch/x86/kvm/x86.c"


def _inj_virq(h: Happening) -> Explanation:
    vector = h.f["irq"]
    table = VectorTable(h.machine, h.program)
    row = table.row(vector)
    name = table.name_of(vector)
    where = f"the {table.name} has no entry for it"
    if row is not None:
        where = f"its handler is at {h.place(row.handler)}"
        if row.problem:
            where += f", but {row.problem}"
    if vector < 32 and not name.startswith("IRQ"):
        where += f" (in protected and long mode that is {exception_name(vector)})"
    return Explanation(
        f"KVM injects vector {vector:#x}" + (f", {name}" if name else ""),
        f"The controllers gave vector {vector:#x}; {where}. The processor delivers it with the "
        "entry, before the guest's next instruction.",
        "An interrupt can't be pushed into a running guest from outside: KVM writes the vector "
        "into the VMCS, and the processor pushes the frame and jumps to the handler at the VM "
        "entry.",
        f"{_X86}: kvm_check_and_inject_events(); {_VMX}: vmx_inject_irq(); Intel SDM vol. 3, 27.6 "
        "(event injection)",
    )


def _inj_nmi(h: Happening) -> Explanation:
    return Explanation(
        "KVM injects an NMI",
        "The processor delivers vector 2 with the entry, whatever IF says.",
        "A non-maskable interrupt comes through when interrupts are off; only another NMI's "
        "handler holds it off.",
        f"{_X86}: kvm_check_and_inject_events(); {_VMX}: vmx_inject_nmi()",
    )


def _set_irq(h: Happening) -> Explanation:
    gsi, level = h.f["gsi"], h.f["level"]
    device = h.machine.board.lines.get(gsi)
    name = f"IRQ {gsi} ({device})" if device else f"IRQ {gsi}"
    return Explanation(
        f"{name} goes {'up' if level else 'down'}",
        f"The line of {name} is {level} now, at the interrupt controllers in KVM.",
        "kvm_set_irq() is the one way to an interrupt line, whoever drives it: QEMU by an ioctl, "
        "an irqfd, or the timer in KVM. An edge-triggered input is requested when its line goes "
        "up; the falling edge only makes room for the next one.",
        "Linux virt/kvm/irqchip.c: kvm_set_irq()",
    )


def _pic_set_irq(h: Happening) -> Explanation:
    f = h.f
    irq = 8 * f["chip"] + f["pin"]
    chip = ("master", "slave")[f["chip"]]
    trigger = "level" if f["elcr"] >> f["pin"] & 1 else "edge"
    masked = f["imr"] >> f["pin"] & 1
    what = f"Input {f['pin']} of the {chip} (IRQ {irq}), {trigger}-triggered, has a new level."
    if masked:
        what += f" It is masked: bit {f['pin']} of IMR keeps it back."
    if f["coalesced"]:
        what += " The request before has not been taken yet: the two are one."
    return Explanation(
        f"8259: IRQ {irq}" + (" (masked)" if masked else ""),
        what,
        "The controller notes the request in IRR. It reaches the processor if it is not masked "
        "(IMR), and nothing of the same or higher priority is in service (ISR).",
        "Linux arch/x86/kvm/i8259.c: kvm_pic_set_irq(), pic_set_irq1(); Intel 8259A data sheet",
    )


def _vcpu_wakeup(h: Happening) -> Explanation:
    return Explanation(
        "The vCPU wakes up",
        f"An interrupt is there: the guest slept in HLT for {h.f['waited']:,} ticks of its time.",
        "While the guest sleeps its thread sleeps in the kernel and costs nothing. What wakes it "
        "is an interrupt that it can take.",
        "Linux virt/kvm/kvm_main.c: kvm_vcpu_halt(), kvm_vcpu_block(); tracepoint kvm_vcpu_wakeup",
    )


# Short cuts --------------------------------------------------------------------------------------


def _fast_mmio(h: Happening) -> Explanation:
    return Explanation(
        "KVM: fast MMIO",
        f"The store to {h.f['gpa']:#x} fits an ioeventfd that takes any width and value: KVM need "
        "not even decode the instruction.",
        "Decoding costs more than the rest of a lightweight exit. An ioeventfd of length 0 asks "
        "for the address only.",
        f"{_VMX}: handle_ept_misconfig(), KVM_FAST_MMIO_BUS",
    )


def _ioeventfd(h: Happening) -> Explanation:
    f = h.f
    return Explanation(
        "The kick ends in KVM: ioeventfd",
        f"A store of {byte_count(f['len'])} ({value_of(f['val'])}) to {f['addr']:#x} signals the "
        f"eventfd `{f['eventfd']}`, and the guest goes on at once.",
        "The kick says only that there is work. So KVM adds 1 to a counter, and whoever waits for "
        "it (QEMU's main loop, or vhost in the kernel) works beside the guest: no return to QEMU.",
        "Linux virt/kvm/eventfd.c: ioeventfd_write(); fs/eventfd.c: eventfd_signal()",
    )


def _irqfd(h: Happening) -> Explanation:
    f = h.f
    return Explanation(
        f"irqfd: an interrupt on IRQ {f['gsi']}",
        f"The eventfd `{f['eventfd']}` was signalled, and KVM makes it an edge on line {f['gsi']}.",
        "The way back of ioeventfd: whoever has the eventfd can interrupt the guest without an "
        "ioctl, from the kernel, too.",
        "Linux virt/kvm/eventfd.c: irqfd_wakeup(), irqfd_inject()",
    )


INTERRUPTS: dict[str, EventExplainer] = {
    "kvm_inj_virq": _inj_virq,
    "kvm_inj_nmi": _inj_nmi,
    "kvm_set_irq": _set_irq,
    "kvm_pic_set_irq": _pic_set_irq,
    "kvm_vcpu_wakeup": _vcpu_wakeup,
    "kvm_fast_mmio": _fast_mmio,
    "ioeventfd": _ioeventfd,
    "irqfd": _irqfd,
}
