"""The explanation of where a session stands: what just happened, or what comes next, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toyvisor.debug.explain_events import explain_event as explain_event
from toyvisor.debug.explain_instructions import explain_instruction as explain_instruction
from toyvisor.debug.explanation import Explanation as Explanation
from toyvisor.debug.explanation import Idea
from toyvisor.qemu.vcpu_thread import Ending, Outcome

if TYPE_CHECKING:
    from toyvisor.debug.session import Session


def explain(session: Session) -> Explanation:
    """Between two instructions: the one that comes next. Inside an exit: what happened last.

    At the end: how the run ended.
    """
    moment = session.moment
    if session.at_end and session.ending is not None:
        return _ending(session.ending)
    if moment.between or not moment.events:
        return explain_instruction(session.machine, session.program)
    event = session.events[moment.events - 1]
    return explain_event(event, session.machine, session.program)


_ENDS: dict[Outcome, Idea] = {
    Outcome.HALTED: Idea(
        "This is how most guests end: they have nothing more to do, and nothing is to wake them.",
        "Linux arch/x86/kvm/x86.c: kvm_emulate_halt(); QEMU accel/kvm/kvm-all.c: kvm_cpu_exec()",
    ),
    Outcome.SHUTDOWN: Idea(
        "A triple fault resets a PC. QEMU gets KVM_EXIT_SHUTDOWN, and resets the machine or ends.",
        "Linux arch/x86/kvm/vmx/vmx.c: handle_triple_fault(); QEMU system/runstate.c: "
        "qemu_system_reset_request()",
    ),
    Outcome.INTERNAL_ERROR: Idea(
        "KVM has met something that it can't emulate. That is a limit of KVM's, met by a guest "
        "that does something odd.",
        "Linux arch/x86/kvm/x86.c: prepare_emulation_failure_exit(); QEMU accel/kvm/kvm-all.c: "
        "kvm_handle_internal_error()",
    ),
    Outcome.BUDGET: Idea(
        "A guest may run for ever; Toyvisor gives it so many instructions and no more "
        "(--max-instructions).",
        "toyvisor/qemu/vcpu_thread.py: kvm_cpu_exec()",
    ),
    Outcome.INTERRUPTED: Idea(
        "Somebody has stopped it: a signal gets the vCPU's thread out of KVM_RUN.",
        "QEMU accel/kvm/kvm-accel-ops.c; Linux: KVM_EXIT_INTR",
    ),
}


def _ending(ending: Ending) -> Explanation:
    what = f"{ending.explanation[0].upper()}{ending.explanation[1:]}."
    return Explanation(f"The run is over: {ending.outcome}", what, *_ENDS[ending.outcome])
