"""Why a guest on Linux's KVM came to an end, in words: as far as KVM says, and registers show."""

from __future__ import annotations

from toyvisor.kvm.api import InternalError, KvmExit, KvmRegs, KvmRun

_ASK_THE_TOY = "without --accel kvm, the toy KVM says which exception it was"


def explain(run: KvmRun, regs: KvmRegs) -> str:
    """For an exit that the guest does not come back from."""
    match run.exit_reason:
        case KvmExit.SHUTDOWN:
            return (
                f"triple fault at RIP {regs.rip:#x}: an exception could not be delivered, and "
                f"neither could the double fault that this makes; {_ASK_THE_TOY}{_or_software()}"
            )
        case KvmExit.INTERNAL_ERROR:
            return _explain_internal_error(run, regs)
        case KvmExit.FAIL_ENTRY:
            reason = run.fields.fail_entry.hardware_entry_failure_reason
            return (
                f"KVM_EXIT_FAIL_ENTRY: the processor refused to enter the guest, with reason "
                f"{reason:#x} (Intel SDM vol. 3, appendix C): its state is none it can run"
            )
        case reason:
            return f"KVM_EXIT {reason} at RIP {regs.rip:#x}, which no device here asks for"


def _or_software() -> str:
    """What else it may be, on a KVM that can't do everything."""
    from toyvisor.kvm.linux import is_software, module_name

    if not is_software():
        return ""
    return f"; or {module_name()}, which has no hardware under it, can't do what the guest asks"


def _explain_internal_error(run: KvmRun, regs: KvmRegs) -> str:
    from toyvisor.kvm.linux import is_software, module_name

    if run.internal.suberror != InternalError.EMULATION:
        return f"Linux's KVM can't go on at RIP {regs.rip:#x}"
    text = f"KVM could not emulate {_instruction(run)} at RIP {regs.rip:#x}"
    if is_software():
        text += (
            f"; this machine's KVM is {module_name()}, which has no hardware under it, emulates "
            "the guest's kernel code, and does not know all instructions"
        )
    return text


def _instruction(run: KvmRun) -> str:
    """What KVM has fetched: struct emulation_failure, flags, then size and bytes."""
    flags, *rest = run.internal.data[:3]
    if not run.internal.ndata or not flags & 1:
        return "what it found there"
    size, *code = b"".join(word.to_bytes(8, "little") for word in rest)
    return f"the instruction that begins {bytes(code[:size])[:8].hex(' ')}"
