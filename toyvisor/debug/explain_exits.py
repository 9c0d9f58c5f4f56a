"""The events of the world switch, and what KVM makes of an exit, explained."""

from __future__ import annotations

from toyvisor.debug.explain_registers import register_idea
from toyvisor.debug.explain_scene import (
    EventExplainer,
    Happening,
    byte_count,
    register_words,
    value_of,
)
from toyvisor.debug.explanation import Explanation, Idea
from toyvisor.debug.instruction_scene import scene_at
from toyvisor.debug.views.reasons import kvm_exit_name, vmx_reason_name
from toyvisor.debug.views.register_places import register_at
from toyvisor.exit_reasons import ExitReason, KvmExit
from toyvisor.guest.decoded import OperandKind

_VMX = "Linux arch/x86/kvm/vmx/vmx.c"
_X86 = "Linux arch/x86/kvm/x86.c"
_SDM_UNCONDITIONAL = "Intel SDM vol. 3, 26.1.2 (instructions that cause VM exits unconditionally)"
_SDM_CONDITIONAL = "Intel SDM vol. 3, 26.1.3 (instructions that cause VM exits conditionally)"

# Leaving the guest -----------------------------------------------------------------------------

_EXITS: dict[int, Idea] = {
    ExitReason.EPT_VIOLATION: Idea(
        "The extended page tables map the guest's addresses to RAM. Where devices are, nothing is "
        "mapped, on purpose: each access ends the guest's run, and software can play the device. "
        "This is the first touch of that page; KVM marks it, and the next ones come as "
        "EPT_MISCONFIG.",
        f"{_VMX}: handle_ept_violation(); Intel SDM vol. 3, 29.3.3 (EPT-induced VM exits)",
    ),
    ExitReason.EPT_MISCONFIG: Idea(
        "Where devices are, the extended page tables map nothing, on purpose: each access ends the "
        "guest's run, and software can play the device. KVM has marked this page with an entry "
        "that no processor accepts, so it knows at once that it is MMIO.",
        f"{_VMX}: handle_ept_misconfig(); Intel SDM vol. 3, 29.3.3 (EPT-induced VM exits)",
    ),
    ExitReason.IO_INSTRUCTION: Idea(
        "KVM has told the processor to leave at every IN and OUT: a port is always a device.",
        f"{_VMX}: handle_io(); {_SDM_CONDITIONAL}",
    ),
    ExitReason.HLT: Idea(
        "A guest that has nothing to do must not keep the host's processor: HLT leaves, and the "
        "host can give it to others.",
        f"{_X86}: kvm_emulate_halt(); {_SDM_CONDITIONAL}",
    ),
    ExitReason.CPUID: Idea(
        "CPUID always leaves the guest: what the guest is to see of the processor, the host "
        "decides.",
        f"Linux arch/x86/kvm/cpuid.c: kvm_emulate_cpuid(); {_SDM_UNCONDITIONAL}",
    ),
    ExitReason.VMCALL: Idea(
        "VMCALL is made for this: a guest that knows it is one asks the hypervisor for something.",
        f"{_X86}: kvm_emulate_hypercall(); {_SDM_UNCONDITIONAL}",
    ),
    ExitReason.TRIPLE_FAULT: Idea(
        "An exception could not be delivered, nor the double fault that this makes. A processor "
        "would reset the machine now; a guest's leaves instead, and the host decides.",
        f"{_VMX}: handle_triple_fault(); Intel SDM vol. 3, 26.2 (other causes of VM exits)",
    ),
    ExitReason.INTERRUPT_WINDOW: Idea(
        "KVM has an interrupt for the guest, which could not take it. So KVM has asked the "
        "processor to leave as soon as it can: that is now.",
        f"{_VMX}: handle_interrupt_window(); Intel SDM vol. 3, 26.2 (other causes of VM exits)",
    ),
    ExitReason.NMI_WINDOW: Idea(
        "KVM has an NMI for the guest, and has asked the processor to leave as soon as the guest "
        "can take it.",
        f"{_VMX}: handle_nmi_window(); Intel SDM vol. 3, 26.2 (other causes of VM exits)",
    ),
    ExitReason.TASK_SWITCH: Idea(
        "The guest used a task gate or a TSS to switch tasks, which no processor does in a guest: "
        "KVM emulates it. (Toyvisor does not.)",
        f"{_VMX}: handle_task_switch(); {_SDM_UNCONDITIONAL}",
    ),
    ExitReason.PREEMPTION_TIMER: Idea(
        "The host wants the processor back: a timer of the kernel is due, or the vCPU thread's "
        "time slice is over. The guest has done nothing for it and does not notice.",
        f"{_VMX}: handle_preemption_timer(); Intel SDM vol. 3, 26.5.1 (VMX-preemption timer)",
    ),
}
_OTHER_EXIT = Idea(
    "The processor stops the guest and hands over to KVM, with a number for the reason.",
    f"{_VMX}: vmx_handle_exit(); Intel SDM vol. 3, appendix C (VMX basic exit reasons)",
)


#: The guest is stopped between two instructions; none of them is the cause.
_BETWEEN = (
    ExitReason.PREEMPTION_TIMER, ExitReason.INTERRUPT_WINDOW, ExitReason.NMI_WINDOW,
)  # fmt: skip


def _vm_exit(h: Happening) -> Explanation:
    reason = h.f["reason"]
    idea = _EXITS.get(reason, _OTHER_EXIT)
    title = f"The guest leaves: {vmx_reason_name(reason)}"
    if reason in (ExitReason.EPT_VIOLATION, ExitReason.EPT_MISCONFIG):
        what = _what_of_ept(h)
    elif reason == ExitReason.IO_INSTRUCTION:
        what = _what_of_io(h)
    elif reason in _BETWEEN:
        what = f"The guest is stopped {h.here(h.f['rip'])}, between two instructions."
    else:
        what = f"The guest leaves {h.here(h.f['rip'])}{_instruction(h)}."
    return Explanation(title, what, *idea)


def _instruction(h: Happening) -> str:
    scene = scene_at(h.machine, h.program, h.f["rip"])
    return f": `{scene.decoded.text}`" if scene is not None else ""


def _what_of_ept(h: Happening) -> str:
    address, size = h.f["address"], h.f["size"]
    place = register_at(h.machine, address)
    if not size:
        return (
            f"The guest needs guest-physical address {address:#x} {h.here(h.f['rip'])}, for "
            "something that is no load and no store: to execute from it, or to deliver an "
            "interrupt."
        )
    scene = scene_at(h.machine, h.program, h.f["rip"])
    is_store = scene is not None and any(
        o.is_written and o.kind is OperandKind.MEMORY for o in scene.operands
    )
    verb = "stores" if is_store else "touches"
    text = scene.decoded.text if scene is not None else "the instruction"
    whose = (
        f"{register_words(place)}: {place.meaning}"
        if place is not None
        else "where there is neither RAM nor a device"
    )
    return (
        f"`{text}` {h.here(h.f['rip'])}, {verb} {byte_count(size)} at guest-physical {address:#x}, "
        f"{whose}. No RAM is there, so the processor leaves the guest."
    )


def _what_of_io(h: Happening) -> str:
    port, size = h.f["address"], h.f["size"]
    scene = scene_at(h.machine, h.program, h.f["rip"])
    is_out = scene is not None and scene.decoded.mnemonic.startswith("out")
    text = scene.decoded.text if scene is not None else "the instruction"
    place = register_at(h.machine, port, is_port=True, is_write=is_out)
    whose = register_words(place) if place is not None else "where no device is"
    return f"`{text}` {h.here(h.f['rip'])}: {byte_count(size)} at port {port:#x}, {whose}."


def _vm_entry(h: Happening) -> Explanation:
    return Explanation(
        "The guest goes on",
        f"The processor is in the guest again, {h.here(h.rip)}.",
        "A VM entry loads the guest's registers and page tables. From here on the processor "
        "carries out the guest's own instructions, at full speed, until one of them needs "
        "software.",
        f"{_VMX}: vmx_vcpu_enter_exit(); Intel SDM vol. 3, chapter 27 (VM entries)",
    )


# What KVM makes of it ----------------------------------------------------------------------------


def _kvm_mmio(h: Happening) -> Explanation:
    f = h.f
    kind, gpa, value = f["type"], f["gpa"], f["val"]
    place = register_at(h.machine, gpa, is_write=kind == "write")
    name = register_words(place, value=value if kind == "write" else None)
    size = byte_count(f["len"])
    if kind == "write":
        return Explanation(
            f"KVM: a store of {size} to {gpa:#x}",
            f"The guest wrote {size} ({value_of(value)}) to {gpa:#x}: {name}.",
            "The processor tells the address, not the value. KVM decodes the instruction for that, "
            "and asks its own devices; what none of them takes goes into kvm_run.mmio, for QEMU.",
            f"{_X86}: emulator_read_write(), vcpu_mmio_write()",
        )
    if kind == "read":
        return Explanation(
            f"KVM: the load from {gpa:#x} is answered",
            f"The answer is there: {name} gave {value_of(value)}. Now the load of {size} can be "
            "finished.",
            "A load can't be finished by the exit: the answer comes from QEMU, and only the next "
            "KVM_RUN puts it into the register. Until then the guest's registers are as before.",
            f"{_X86}: complete_emulated_mmio()",
        )
    return Explanation(
        f"KVM: a load of {size} from {gpa:#x}",
        f"The guest wants {size} from {gpa:#x}: {name}. Nobody in the kernel answers, so QEMU has "
        "to.",
        "KVM decodes the instruction, and asks its own devices first. It remembers that a load "
        "waits: it will be finished when QEMU calls KVM_RUN again.",
        f"{_X86}: emulator_read_write(), vcpu_mmio_read(); tracepoint kvm_mmio unsatisfied-read",
    )


def _kvm_pio(h: Happening) -> Explanation:
    f = h.f
    is_write, port, value = f["rw"] == "write", f["port"], f["val"]
    place = register_at(h.machine, port, is_port=True, is_write=is_write, value=value)
    name = register_words(place, value=value)
    count = f" ({f['count']} of them)" if f["count"] > 1 else ""
    in_kernel = place is not None and place.owner == "KVM"
    verb = "OUT" if is_write else "IN"
    did = "wrote" if is_write else "gets"
    what = (
        f"The guest {did} {byte_count(f['size'])}{count}, {value_of(value)}, "
        f"{'to' if is_write else 'from'} port {port:#x}: {name}."
    )
    if in_kernel and place is not None:
        idea = register_idea(place)
        return Explanation(
            f"KVM: {verb} at port {port:#x}, {name}",
            what,
            f"{idea.why} The device is in KVM itself: no return to QEMU, a lightweight exit.",
            idea.source,
        )
    if is_write:
        why = "No device of KVM's has this port: the data go to the page behind kvm_run, for QEMU."
        source = f"{_X86}: emulator_pio_out(), kvm_fast_pio_out()"
    else:
        why = "QEMU has put the answer behind kvm_run; this KVM_RUN takes it into the register."
        source = f"{_X86}: complete_fast_pio_in()"
    return Explanation(f"KVM: {verb} at port {port:#x}", what, why, source)


def _kvm_cpuid(h: Happening) -> Explanation:
    f = h.f
    return Explanation(
        f"KVM answers CPUID leaf {f['func']:#x}",
        f"The guest gets eax {f['rax']:#x}, ebx {f['rbx']:#x}, ecx {f['rcx']:#x}, edx "
        f"{f['rdx']:#x}.",
        "What a guest sees of its processor is a table that QEMU has given KVM (KVM_SET_CPUID2): "
        "so a guest can move between hosts that are not alike. No return to QEMU.",
        "Linux arch/x86/kvm/cpuid.c: kvm_emulate_cpuid()",
    )


def _kvm_hypercall(h: Happening) -> Explanation:
    f = h.f
    return Explanation(
        f"KVM answers hypercall {f['nr']}",
        f"The guest asked for {f['nr']} with {f['a0']:#x}, {f['a1']:#x}, {f['a2']:#x}, "
        f"{f['a3']:#x}; rax gets {f['ret']}.",
        "A hypercall is a call of a function of the hypervisor. KVM knows few, and answers -1000 "
        "(KVM_ENOSYS) to others; -1 (KVM_EPERM) to one from level 3.",
        f"{_X86}: kvm_emulate_hypercall(); Documentation/virt/kvm/x86/hypercalls.rst",
    )


_USERSPACE: dict[int, str] = {
    KvmExit.MMIO: "Address, length, direction and data are in kvm_run.mmio.",
    KvmExit.IO: "Port, width, direction and count are in kvm_run.io, the data in the page behind "
    "it.",
    KvmExit.HLT: "The guest has halted, and KVM has no interrupt controllers that could wake it.",
    KvmExit.HYPERCALL: "Number and arguments are in kvm_run.hypercall: QEMU wants to see this one.",
    KvmExit.SHUTDOWN: "A triple fault: the machine is to be reset, or, here, to end.",
    KvmExit.INTR: "Something other than the guest wants the thread: its time slice is over, or it "
    "was stopped.",
    KvmExit.INTERNAL_ERROR: "KVM can't go on with this guest; kvm_run.internal says why.",
    KvmExit.DEBUG: "An instruction was stepped over, as KVM_SET_GUEST_DEBUG asked.",
}


def _userspace_exit(h: Happening) -> Explanation:
    reason = h.f["reason"]
    name = kvm_exit_name(reason)
    return Explanation(
        f"ioctl(KVM_RUN) returns: {name}",
        f"KVM can't finish this by itself and returns to QEMU with {name}. "
        f"{_USERSPACE.get(reason, '')}".rstrip(),
        "This is the expensive part of an exit: from the kernel to a process and back. What KVM "
        "can do by itself, it does (a lightweight exit); so devices that are used much move into "
        "the kernel: interrupt controllers, timers, ioeventfd, vhost.",
        f"{_X86}: kvm_arch_vcpu_ioctl_run(), tracepoint kvm_userspace_exit; Linux "
        "Documentation/virt/kvm/api.rst, 5 (the kvm_run structure)",
    )


EXITS: dict[str, EventExplainer] = {
    "vm_exit": _vm_exit,
    "vm_entry": _vm_entry,
    "kvm_mmio": _kvm_mmio,
    "kvm_pio": _kvm_pio,
    "kvm_cpuid": _kvm_cpuid,
    "kvm_hypercall": _kvm_hypercall,
    "kvm_userspace_exit": _userspace_exit,
}
