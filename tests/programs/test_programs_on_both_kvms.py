"""Every shipped program on the toy KVM and on Linux's: the same exits, and all that comes of them.

What may differ, and why, is in one table (toyvisor/learn/kvm_differences.py). A program that is not
in it must be the same to the last byte, at each exit to QEMU.
"""

from __future__ import annotations

import pytest

from toyvisor.commands.run import default_net
from toyvisor.guest.library import guest_programs_dir, shipped_programs
from toyvisor.guest.program import load_program
from toyvisor.host.console import Console
from toyvisor.host.console_input import InputBytes
from toyvisor.host.net import open_net
from toyvisor.kvm import linux
from toyvisor.learn.both_kvms import Comparison, run_on_both
from toyvisor.learn.kvm_differences import FACTS, INSTRUCTIONS, OUTCOME, PROGRAMS, Cause
from toyvisor.qemu.accel import Limits

needs_kvm = pytest.mark.skipif(linux.why_not() is not None, reason=f"{linux.why_not()}")

SHIPPED = [program.name for program in shipped_programs()]
BROKEN = sorted(path.stem for path in (guest_programs_dir() / "broken").glob("*.s"))
#: Enough for all that end; the others are compared as far as they come.
LIMITS = Limits(instructions=100_000, seconds=1)
#: Characters for the one that reads the serial port.
TYPED = b"hello\n"


def on_both(
    name: str,
    options: dict[str, dict[str, object]] | None = None,
    *,
    single_step: bool = False,
) -> Comparison:
    broken = guest_programs_dir() / "broken" / f"{name}.s"
    program = load_program(str(broken) if name in BROKEN else name)

    def console() -> Console:
        typed = InputBytes(TYPED, "typed") if name == "keyboardless_echo" else None
        return Console(input=typed)

    return run_on_both(
        program, lambda: open_net(default_net(program)), console, options, LIMITS,
        single_step=single_step,
    )  # fmt: skip


def told(comparison: Comparison) -> str:
    """What differs, for a test that fails."""
    lines = [f"{fact.name}: toy {fact.toy}, Linux {fact.linux}" for fact in comparison.differences]
    number = comparison.first_difference
    if number is not None:
        for side, exits in (("toy", comparison.toy.exits), ("Linux", comparison.linux.exits)):
            lines.append(f"exit {number} {side}: {[str(entry) for entry in exits[number:][:1]]}")
    return "\n".join(lines)


@needs_kvm
@pytest.mark.parametrize("name", [*SHIPPED, *BROKEN])
def test_a_program_does_the_same_on_both(name: str) -> None:
    comparison = on_both(name)
    assert not comparison.unexplained, told(comparison)
    if name not in PROGRAMS:
        assert not comparison.differences, told(comparison)


@needs_kvm
@pytest.mark.skipif(not linux.is_software(), reason="this machine's KVM is no software one")
@pytest.mark.parametrize(
    "name", [n for n, entries in PROGRAMS.items() if entries[0].cause is Cause.SOFTWARE]
)
def test_what_is_put_down_to_a_software_kvm_differs_there(name: str) -> None:
    """Else the entry hides something, or can be struck out."""
    only_stepped = PROGRAMS[name][0].facts == {INSTRUCTIONS}
    assert on_both(name, single_step=only_stepped).differences


@needs_kvm
@pytest.mark.parametrize(
    "name",
    ["add", "divide_error", "double_fault", "hello_mmio", "hello_protected", "hello_serial",
     "one_load", "page_fault", "virtio_net_tx", "virtio_net_tx_batch", "virtio_probe"],
)  # fmt: skip
def test_the_registers_are_the_same_behind_each_instruction(name: str) -> None:
    comparison = on_both(name, single_step=True)
    assert not comparison.differences, told(comparison)
    toy, real = comparison.toy.steps, comparison.linux.steps
    assert toy is not None
    assert real is not None
    assert len(real) > 0.9 * len(toy) > 0


_EVENTFDS = {"virtio-net": {"ioeventfd": True, "irqfd": True}}
_VHOST = {"virtio-net": {"vhost": True}}


@needs_kvm
@pytest.mark.parametrize("options", [_EVENTFDS, _VHOST], ids=["eventfds", "vhost"])
@pytest.mark.parametrize("name", ["virtio_net_tx_sleep", "virtio_net_rx", "virtio_net_echo"])
def test_real_eventfds_carry_kicks_and_interrupts(
    name: str, options: dict[str, dict[str, object]]
) -> None:
    """The same packets, and of a kick QEMU sees no exit on either KVM."""
    comparison = on_both(name, options)
    toy, real = comparison.toy, comparison.linux
    assert (real.result.sent, real.result.received) == (toy.result.sent, toy.result.received)
    assert toy.result.sent or toy.result.received
    kicks = [
        entry
        for entry in real.exits
        if entry.address & 0xFFF == 0x50 and entry.direction == "write"
    ]
    assert kicks == []
    assert real.result.outcome == "halted"
    if real.result.kvm_stats is not None:
        assert real.result.injected > 0


def test_every_program_of_the_table_is_there() -> None:
    assert set(PROGRAMS) <= {*SHIPPED, *BROKEN}
    for entries in PROGRAMS.values():
        for entry in entries:
            assert entry.facts <= set(FACTS)


def test_most_programs_are_the_same_without_exception() -> None:
    assert len(PROGRAMS) < len([*SHIPPED, *BROKEN]) / 2


@needs_kvm
@pytest.mark.parametrize("most", [10, 100])
def test_a_guest_whose_time_was_up_on_the_toy_is_compared_so_far(most: int) -> None:
    program = load_program("virtio_net_tx")
    comparison = run_on_both(
        program, lambda: open_net(default_net(program)), limits=Limits(most, 5), single_step=True
    )
    assert comparison.toy.result.outcome == "budget"
    assert [fact.name for fact in comparison.differences] == [OUTCOME]
    assert not comparison.unexplained
