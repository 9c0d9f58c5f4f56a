"""Instructions for those who run the machine: ports, HLT, interrupts, tables, CPUID, hypercalls."""

from __future__ import annotations

from toyvisor.debug.explain_registers import register_idea
from toyvisor.debug.explanation import Idea
from toyvisor.debug.instruction_scene import Scene, number, spot_text
from toyvisor.debug.instruction_words import BY_ITSELF, Explainer, Words, manual
from toyvisor.debug.views.devices import decode_bits
from toyvisor.debug.views.kernel_devices import controllers
from toyvisor.debug.views.register_places import RegisterPlace, register_at

# Ports -----------------------------------------------------------------------------------------

_IN_AND_OUT = Idea(
    "IN and OUT always leave the guest: KVM asks its own devices first, and for the others returns "
    "to QEMU with KVM_EXIT_IO.",
    "Linux arch/x86/kvm/vmx/vmx.c: handle_io(), arch/x86/kvm/x86.c: kvm_fast_pio(); Intel SDM vol. "
    "3, 26.1.3 (instructions that cause VM exits conditionally)",
)


def _in(scene: Scene) -> Words:
    target, source = scene.operands
    port = scene.value(source) or 0
    place = register_at(scene.machine, port, is_port=True, is_write=False)
    return Words(
        f"asks port {port:#x}{_whose(place)} for {8 * target.size} bits: the guest leaves, and "
        f"{target.register} has the answer when it comes back",
        _port_idea(place),
    )


def _out(scene: Scene) -> Words:
    target, source = scene.operands
    port, value = scene.value(target) or 0, scene.value(source) or 0
    place = register_at(scene.machine, port, is_port=True, is_write=True, value=value)
    bits = decode_bits(place, value) if place is not None else ""
    said = f" ({bits})" if bits else f" ({chr(value)!r})" if 0x20 <= value < 0x7F else ""
    return Words(
        f"writes {number(value)}{said} to port {port:#x}{_whose(place)}: the guest leaves",
        _port_idea(place),
    )


def _outs(scene: Scene) -> Words:
    _, source = scene.operands
    port = scene.known("dx")
    place = register_at(scene.machine, port, is_port=True, is_write=True)
    return Words(
        f"writes {scene.said(source._replace(is_read=True))} to port {port:#x}{_whose(place)}"
        f"{_repeated(scene)}",
        _port_idea(place),
    )


def _ins(scene: Scene) -> Words:
    target = scene.operands[0]
    port = scene.known("dx")
    place = register_at(scene.machine, port, is_port=True, is_write=False)
    return Words(
        f"asks port {port:#x}{_whose(place)} for {8 * target.size} bits, into "
        f"{spot_text(scene.spot_of(target))}{_repeated(scene)}",
        _port_idea(place),
    )


def _repeated(scene: Scene) -> str:
    if not scene.decoded.repeat:
        return ": the guest leaves"
    name = {64: "rcx", 32: "ecx"}.get(scene.decoded.address_bits, "cx")
    return f", {number(scene.register(name))} times ({name}): an exit for each"


def _whose(place: RegisterPlace | None) -> str:
    if place is None:
        return ", where no device is"
    return f", {place.register} of {place.device}"


def _port_idea(place: RegisterPlace | None) -> Idea:
    if place is None:
        return _IN_AND_OUT
    idea = register_idea(place)
    who = "KVM answers by itself: a lightweight exit" if place.owner == "KVM" else "QEMU answers"
    return Idea(f"{idea.why} IN and OUT always leave the guest; {who}.", idea.source)


# Sleeping, and interrupts on and off -------------------------------------------------------------

_HALT = "Linux arch/x86/kvm/x86.c: kvm_emulate_halt(); virt/kvm/kvm_main.c: kvm_vcpu_halt()"


def _hlt(scene: Scene) -> Words:
    if controllers(scene.machine) is None:
        return Words(
            "stops the processor: the guest leaves, and QEMU ends the machine",
            Idea(
                "With no interrupt controllers in KVM, HLT returns to QEMU as KVM_EXIT_HLT. No "
                "interrupt could wake this guest, so it has come to its end.",
                _HALT,
            ),
        )
    if not scene.flag("IF"):
        return Words(
            "stops the processor with interrupts off (IF is 0): nothing can wake it, so the guest "
            "has come to its end",
            Idea("A guest that wants no interrupts any more ends like this.", _HALT),
        )
    return Words(
        "sleeps until the next interrupt: the guest leaves, and KVM lets the host's other threads "
        "run",
        Idea(
            "A guest that has nothing to do costs nothing. KVM puts the vCPU's thread to sleep in "
            "the kernel; QEMU does not hear of it.",
            _HALT,
        ),
    )


def _sti(scene: Scene) -> Words:
    chips = controllers(scene.machine)
    text = "turns interrupts on (IF becomes 1), from behind the next instruction on"
    if chips is not None and chips.output:
        text += "; one waits already (INTR is up)"
    return Words(
        text,
        Idea(
            "The one instruction of grace is for `sti; hlt`: no interrupt can come in between, and "
            "leave the guest to sleep for ever.",
            manual("STI"),
        ),
    )


def _cli(scene: Scene) -> Words:
    return Words(
        "turns interrupts off (IF becomes 0)",
        Idea(
            "Interrupts that come now wait in the controllers. KVM sees IF when it wants to inject "
            "one, and asks for an interrupt-window exit until then.",
            manual("CLI"),
        ),
    )


def _flag(flag: str, value: int) -> Explainer:
    what = f"{flag} = {value}"
    if flag == "DF":
        what += ": string instructions go " + ("downwards" if value else "upwards")
    return lambda scene: Words(what)


# Tables and special registers --------------------------------------------------------------------

_TABLES = {
    "gdt": Idea(
        "The GDT has the descriptors of segments: what CS, DS and the others are loaded from.",
        "Intel SDM vol. 3, 2.4.1 and 3.5.1",
    ),
    "idt": Idea(
        "The IDT has a gate for each vector: where the handlers of exceptions and interrupts are. "
        "Without one the first exception ends in a triple fault.",
        "Intel SDM vol. 3, 2.4.3 and 7.10",
    ),
}


def _load_table(scene: Scene) -> Words:
    (source,) = scene.operands
    table = scene.decoded.mnemonic[1:]
    linear = scene.linear(source)
    limit, base = scene.spot(linear, 2).value, scene.spot(linear + 2, 8 if scene.bits == 64 else 4)
    if limit is None or base.value is None:
        return Words(f"loads the {table.upper()}'s place from {scene.named(source)}",
                     _TABLES[table])  # fmt: skip
    return Words(
        f"from now on the {table.upper()} is at {scene.place(base.value)}, {limit + 1} bytes long "
        f"(read from {scene.named(source)})",
        _TABLES[table],
    )


def _store_table(scene: Scene) -> Words:
    (target,) = scene.operands
    table = scene.decoded.mnemonic[1:]
    return Words(f"stores base and limit of the {table.upper()} into {scene.named(target)}",
                 _TABLES[table])  # fmt: skip


def _task_register(scene: Scene) -> Words:
    return Words(
        f"loads the task register with the selector {scene.said(scene.operands[0])}",
        Idea(
            "The TSS that it names has the stacks for handlers: an interrupt out of level 3 "
            "switches to the one for level 0.",
            "Intel SDM vol. 3, 2.4.4 and 7.14.4",
        ),
    )


_NUMBERED = Idea(
    "Registers of the processor that have numbers instead of names.",
    "Intel SDM vol. 4 (model-specific registers)",
)


def _rdmsr(scene: Scene) -> Words:
    return Words(f"edx:eax = the model-specific register {scene.known('ecx'):#x}", _NUMBERED)


def _wrmsr(scene: Scene) -> Words:
    return Words(
        f"the model-specific register {scene.known('ecx'):#x} = edx:eax "
        f"({scene.known('edx'):#x}:{scene.known('eax'):#x})",
        _NUMBERED,
    )


def _cpuid(scene: Scene) -> Words:
    return Words(
        f"asks the processor what it is: leaf {number(scene.known('eax'))}. It always leaves the "
        "guest, and KVM makes up the answer",
        Idea(
            "The host decides what its guests see of the processor: a lightweight exit, QEMU has "
            "given KVM the answers beforehand.",
            "Linux arch/x86/kvm/cpuid.c: kvm_emulate_cpuid(); Intel SDM vol. 3, 26.1.2 "
            "(instructions that cause VM exits unconditionally)",
        ),
    )


def _vmcall(scene: Scene) -> Words:
    arguments = ", ".join(number(scene.register(n)) for n in ("rbx", "rcx", "rdx", "rsi"))
    return Words(
        f"calls the hypervisor: hypercall {number(scene.known('rax'))} with {arguments}; rax gets "
        "the answer",
        Idea(
            "What INT 0x80 or SYSCALL is to an operating system, VMCALL is to the hypervisor: the "
            "guest knows that it is one.",
            "Linux arch/x86/kvm/x86.c: kvm_emulate_hypercall(); Documentation/virt/kvm/x86/"
            "hypercalls.rst",
        ),
    )


_FENCE = Idea(
    "A barrier: the device looks at the same memory from another processor, so the order of loads "
    "and stores is part of the protocol. x86 may do a later load before an earlier store; MFENCE "
    "forbids that.",
    "Intel SDM vol. 3, 9.2 (memory ordering); VIRTIO 1.2, 2.7.13.4.1 and 2.7.10",
)


def _fence(scene: Scene) -> Words:
    what = {"mfence": "loads and stores", "lfence": "loads", "sfence": "stores"}
    return Words(f"waits until all {what[scene.decoded.mnemonic]} before it are done", _FENCE)


def _pause(scene: Scene) -> Words:
    return Words("does nothing for a moment: a hint to the processor that this is a loop that "
                 "waits", Idea(BY_ITSELF, manual("PAUSE")))  # fmt: skip


def _nop(scene: Scene) -> Words:
    return Words("does nothing")


def _invlpg(scene: Scene) -> Words:
    (target,) = scene.operands
    return Words(
        f"makes the processor forget how it translated {scene.linear(target):#x}",
        Idea(
            "The translations that the TLB keeps are not updated by a store to a page table.",
            "Intel SDM vol. 3, 5.10 (caching translation information)",
        ),
    )


def _rdtsc(scene: Scene) -> Words:
    return Words("edx:eax = the time-stamp counter")


SYSTEM: dict[str, Explainer] = {
    "in": _in,
    "out": _out,
    **dict.fromkeys(("outsb", "outsw", "outsd"), _outs),
    **dict.fromkeys(("insb", "insw", "insd"), _ins),
    "hlt": _hlt,
    "sti": _sti,
    "cli": _cli,
    "cld": _flag("DF", 0),
    "std": _flag("DF", 1),
    "clc": _flag("CF", 0),
    "stc": _flag("CF", 1),
    **dict.fromkeys(("lgdt", "lidt"), _load_table),
    **dict.fromkeys(("sgdt", "sidt"), _store_table),
    "ltr": _task_register,
    "rdmsr": _rdmsr,
    "wrmsr": _wrmsr,
    "cpuid": _cpuid,
    **dict.fromkeys(("vmcall", "vmmcall"), _vmcall),
    **dict.fromkeys(("mfence", "lfence", "sfence"), _fence),
    "pause": _pause,
    **dict.fromkeys(("nop", "endbr64", "endbr32"), _nop),
    "invlpg": _invlpg,
    "rdtsc": _rdtsc,
}
