"""The summary after a run, line by line."""

from __future__ import annotations

import pytest

from toyvisor.cli import main


@pytest.fixture
def summary(capsys, monkeypatch):
    """The lines after the guest's own output."""

    def run(program: str, columns: int = 80, *options: str) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        capsys.readouterr()
        main(["run", program, *options])
        out = capsys.readouterr().out.splitlines()
        start = next(n for n, line in enumerate(out) if line.startswith(f"{program}: "))
        assert out[start - 1] == ""
        return out[start:]

    return run


def test_two_and_two(summary):
    assert summary("add") == [
        "add: halted after 7 instructions",
        "",
        "Vmexits: 3, of which 3 went to QEMU and 0 ended in KVM",
        "reason  exits",
        "io          2  IN or OUT: a device's ports",
        "hlt         1  HLT: the guest sleeps, or has nothing more to do",
        "",
        "Copies: 6 (6 bytes)",
        "hop         copies  bytes",
        "guest->kvm       2      2  KVM takes the stored value into kvm_run",
        "kvm->qemu        2      2  QEMU takes it out of kvm_run, for the device",
        "qemu->host       2      2  a system call hands it to the host kernel",
        "",
        "System calls by QEMU: ioctl(KVM_RUN) 3, write 2",
    ]


def test_a_network_card_adds_packets_and_the_ring(summary):
    lines = summary("virtio_net_tx")
    assert lines[-1].startswith("Packets sent: 29 (")
    assert sum(line.startswith("Virtqueue: ") for line in lines) == 1
    assert len(lines) <= 21, "with the command and the prompt it fits 24 lines"
    assert not any(line.startswith("Virtqueue") for line in summary("mmio_nic_tx"))


@pytest.mark.parametrize(
    ("program", "first"),
    [
        ("triple_fault", "shut down (triple fault) after 1 instruction, as it is meant to"),
        ("spin", "instruction budget spent after 900 instructions, as it is meant to"),
    ],
)
def test_endings_that_are_meant(summary, program, first):
    lines = summary(program, 80, "--max-instructions", "900")
    assert lines[0] == f"{program}: {first}"
    assert lines[-1] == "", "errors follow after an empty line"


def test_a_guest_with_interrupts_is_told_why_it_does_not_wake(summary):
    lines = summary("timer_tick")
    assert lines[:3] == [
        "timer_tick: halted after 469 instructions",
        "The guest executed HLT with interrupts off: only an NMI could wake it",
        "",
    ]
    assert "Interrupts: 5 injected by KVM" in lines


def test_a_name_and_its_count_stay_on_one_line(summary):
    lines = summary("keyboardless_echo", 80)
    start = next(n for n, line in enumerate(lines) if line.startswith("System calls"))
    assert lines[start].endswith("ppoll 19,")
    assert lines[start + 1].startswith("read 18, ")


@pytest.mark.parametrize("columns", [40, 60, 79, 80, 120])
@pytest.mark.parametrize(
    "program",
    ["add", "hello_mmio", "virtio_net_tx", "hypercall", "cpuid", "timer_tick", "sti_hlt"],
)
def test_every_width(summary, program, columns):
    lines = summary(program, columns)
    assert max(map(len, lines)) <= columns
    assert not any(line != line.rstrip() for line in lines)
    if columns >= 80:
        assert len(lines) == len(summary(program, 200)), "nothing is wrapped"


def test_brackets_in_a_name_are_no_markup(capsys, tmp_path):
    path = tmp_path / "[bold]x[/nope].s"
    (tmp_path / "[bold]x[").mkdir()
    path.write_text('; /// machine\n; mode = "long"\n; ///\nhlt\n')
    assert main(["run", str(path)]) == 0
    assert "nope]: halted after 1 instruction\n" in capsys.readouterr().out
