"""Run a shipped guest program and look at what it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from toyvisor.errors import GuestError
from toyvisor.guest.library import guest_programs_dir
from toyvisor.guest.program import Program, load_program
from toyvisor.host.net import NetBackend
from toyvisor.kvm.api import KvmExit
from toyvisor.qemu.machine import Arrivals, Machine
from toyvisor.qemu.vcpu_thread import Ending
from toyvisor.trace.events import KVM_MMIO, Trace
from toyvisor.trace.ledger import Ledger

SHIPPED = sorted(path.stem for path in guest_programs_dir().glob("*.s"))
BROKEN = sorted(f"broken/{path.stem}" for path in (guest_programs_dir() / "broken").glob("*.s"))

#: what machine blocks call an outcome
EXPECTED = {"halt": "halted"}


@dataclass
class Run:
    """One finished run."""

    ending: Ending
    ledger: Ledger
    errors: list[tuple[str, GuestError]]
    console: str
    sent: list[bytes]
    received: list[bytes]
    trace: Trace
    registers: Any

    @property
    def outcome(self) -> str:
        return str(self.ending.outcome)

    @property
    def rules(self) -> list[str]:
        """The rules the guest broke, in order."""
        return [error.rule for _, error in self.errors]

    @property
    def exits(self) -> dict[str, int]:
        """Exits by reason, as the command line counts them."""
        counts = enumerate(self.ledger.userspace)
        found = {KvmExit(reason).name.lower(): count for reason, count in counts if count}
        if self.ledger.lightweight_exits:
            found["lightweight"] = self.ledger.lightweight_exits
        return found

    @property
    def copies(self) -> dict[str, tuple[int, int]]:
        """(copies, bytes) by hop."""
        return {hop.name: (hop.count, hop.bytes) for hop in self.ledger.hops if hop.count}

    @property
    def device_accesses(self) -> list[tuple[str, int, int, int]]:
        """(type, size, guest-physical address, value) of every MMIO exit; needs a trace.

        A load is there twice: as "unsatisfied" at its exit, then with the device's answer.
        """
        mmio = [event.fields for event in self.trace if event.kind is KVM_MMIO]
        done = [f for f in mmio if f["type"] in ("read", "write")]
        return [(f["type"], f["len"], f["gpa"], f["val"]) for f in done]

    @property
    def events(self) -> list[tuple[Any, ...]]:
        """The whole trace, comparable between runs."""
        return [
            (clock, thread, kind.name, *fields)
            for clock, thread, kind, *fields in self.trace.events()
        ]

    @property
    def kinds(self) -> list[str]:
        """The names of the trace's events, in order."""
        return [event.kind.name for event in self.trace]


@cache
def program(name: str, symbols: tuple[tuple[str, int], ...] = ()) -> Program:
    """A shipped program, assembled once."""
    path = guest_programs_dir() / f"{name}.s"
    return load_program(path, symbols=dict(symbols))


def run(
    what: str | Program,
    frames: Sequence[bytes] | None = None,
    *,
    registers: Mapping[str, int] | None = None,
    symbols: Mapping[str, int] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    arrivals: Arrivals | None = None,
    trace: bool = False,
    budget: int = 1_000_000,
) -> Run:
    """Run a shipped program (or one from `load_here`) to its end.

    `options` are device options by the device's type, `arrivals` how `frames` come in.
    """
    if isinstance(what, str):
        what = program(what, tuple((symbols or {}).items()))
    net = NetBackend() if frames is None else NetBackend(frames)
    with Machine(
        what, net, registers=registers, trace=trace, options=options, arrivals=arrivals
    ) as machine:
        ending = machine.run(budget)
        return Run(
            ending,
            machine.ledger,
            machine.errors.entries,
            machine.console.text,
            net.sent,
            net.received,
            machine.trace,
            machine.vcpu.get_regs(),
        )


def load_here(folder: Path, text: str) -> Program:
    """A program that is not shipped, but may include shipped files."""
    path = folder / "program.s"
    path.write_text(text)
    return load_program(path, use_cache=False)
