"""Sessions for tests: of shipped programs, and of a few lines of assembly."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from toyvisor.commands.run import default_net
from toyvisor.debug.session import Session
from toyvisor.guest.library import guest_programs_dir
from toyvisor.guest.program import Program, load_program
from toyvisor.host.net import NetBackend, open_net
from toyvisor.kvm.vcpu import Vcpu
from toyvisor.qemu.machine import Machine

#: Enough for all that end; the others end by it.
BUDGET = 30_000
PROGRAMS = sorted(path.stem for path in guest_programs_dir().glob("*.s"))
BROKEN = sorted(f"broken/{path.stem}" for path in (guest_programs_dir() / "broken").glob("*.s"))


@cache
def program(name: str) -> Program:
    """A shipped program, assembled once."""
    if name.startswith("broken/"):
        return load_program(guest_programs_dir() / f"{name}.s")
    return load_program(name)


def net_of(of: Program) -> NetBackend:
    """Its own frames."""
    return open_net(default_net(of))


def session(name: str, *, budget: int = BUDGET, **more: Any) -> Session:
    """A session of a shipped program."""
    of = program(name)
    return Session(of, net_of(of), max_instructions=budget, **more)


def session_of(source: str, tmp_path: Path, *, block: str = "", **more: Any) -> Session:
    """A session of some lines of assembly."""
    path = tmp_path / "guest.s"
    lines = "".join(f"; {line}\n" for line in block.splitlines())
    path.write_text(f"; /// machine\n{lines}; ///\n{source}\n")
    of = load_program(path, use_cache=False)
    return Session(of, net_of(of), **more)


def fingerprint(machine: Machine) -> tuple[object, ...]:
    """All that a person could look at, of one machine."""
    vcpu, ledger = machine.vcpu, machine.ledger
    assert isinstance(vcpu, Vcpu)
    regs = vcpu.get_regs()
    return (
        [getattr(regs, name) for name, _ in regs._fields_],
        bytes(vcpu.get_sregs()),
        bytes(machine.ram),
        bytes(vcpu.kvm_run.mapping),
        bytes(machine.console.output),
        list(machine.net.sent),
        [(hop.name, hop.count, hop.bytes) for hop in ledger.hops],
        (list(ledger.exits), list(ledger.userspace), dict(ledger.syscalls)),
        (ledger.injected, ledger.suppressed, ledger.context_switches),
        (ledger.ring_reads, ledger.ring_writes, ledger.ring_bytes),
        (vcpu.instructions, vcpu.time, machine.errors.count, vcpu.asleep),
    )
