"""A machine is what its block says, or an error at the line that says it wrong."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from struct import unpack_from

import pytest

from toyvisor.cpu import clock
from toyvisor.errors import InputError, SourceError
from toyvisor.guest.program import Program, load_program
from toyvisor.host.net import NetBackend
from toyvisor.kvm.api import KvmExit
from toyvisor.modes import CpuMode
from toyvisor.qemu.frame_table import FRAME_ENTRY, FRAME_TABLE, FRAME_TABLE_HEADER
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.result import collect
from toyvisor.qemu.vcpu_thread import Outcome
from toyvisor.trace.events import Trace


def program(tmp_path: Path, block: str, code: str = "hlt") -> Program:
    lines = "\n".join(f"; {line}" for line in ["/// machine", *block.splitlines(), "///"])
    path = tmp_path / "guest.s"
    path.write_text(f"{lines}\n{code}\n")
    return load_program(path)


LONG = 'title = "t"\nmode = "long"\n'


def test_devices_get_windows_and_lines_in_the_order_of_the_block(tmp_path: Path) -> None:
    block = LONG + 'devices = ["mmio-nic", "serial", "virtio-net", "virtio-net"]'
    with Machine(program(tmp_path, block)) as machine:
        assert machine.windows == [
            ("mmio-nic", 0xD0000000, 5),
            ("virtio-net", 0xD0001000, 6),
            ("virtio-net2", 0xD0002000, 7),
        ]
        assert [(r.base, r.size) for r in machine.ports.regions] == [(0x3F8, 8)]


@pytest.mark.parametrize(
    ("devices", "line", "message", "hint"),
    [
        ('["virtio-nte"]', 4, "unknown device 'virtio-nte'", "did you mean virtio-net?"),
        ('["disk"]', 4, "unknown device 'disk'", "known: pic, pit, serial"),
        ('["serial", "serial"]', 4, "serial is there twice", None),
        ('[{ type = "serial", mac = "x" }]', 4, "serial has no option 'mac'", "its options: input"),
        ('[{ type = "mmio-nic", mac = "x" }]', 4, "mac is 'x', not six bytes", None),
        ('[{ type = "mmio-nic", mac = "01:00:00:00:00:01" }]', 4, "multicast", None),
    ],
)
def test_a_wrong_device_is_an_error_at_its_line(
    tmp_path: Path, devices: str, line: int, message: str, hint: str | None
) -> None:
    with pytest.raises(SourceError, match=r"guest\.s:4:") as caught:
        Machine(program(tmp_path, f"{LONG}devices = {devices}"))
    assert caught.value.location.line == line
    assert message in caught.value.message
    if hint is not None:
        assert hint in str(caught.value.hint)


def test_a_register_that_has_no_first_value_is_an_error_at_its_line(tmp_path: Path) -> None:
    block = LONG + "registers = { cr0 = 1 }"
    with pytest.raises(SourceError, match=r"guest.s:4:.*cr0"):
        Machine(program(tmp_path, block))


@pytest.mark.parametrize("mode", ["real", "protected", "long"])
def test_first_registers_are_those_of_the_block(tmp_path: Path, mode: str) -> None:
    block = f'title = "t"\nmode = "{mode}"\nregisters = {{ eax = 5, bx = 6, rflags = 0x403 }}'
    with Machine(program(tmp_path, block)) as machine:
        machine.run()
        regs = machine.vcpu.get_regs()
        assert (regs.rax, regs.rbx, regs.rflags & 0xFFF) == (5, 6, 0x403)
        assert regs.rsp == 0x8FF0


@pytest.mark.parametrize("mode", list(CpuMode))
def test_the_stack_and_ram_work_from_the_first_instruction(tmp_path: Path, mode: CpuMode) -> None:
    register = {16: "ax", 32: "eax", 64: "rax"}[mode.bits]
    code = f"mov {register}, 0x1234\npush {register}\npop cx\ncall f\nhlt\nf: inc cx\nret"
    if mode is not CpuMode.REAL:
        code = code.replace("pop cx", f"pop {register.replace('a', 'c')}")
    with Machine(program(tmp_path, f'title = "t"\nmode = "{mode}"', code)) as machine:
        assert machine.run().outcome is Outcome.HALTED
        assert machine.vcpu.get_regs().rcx & 0xFFFF == 0x1235


def test_long_mode_maps_the_first_4_gib_as_they_are(tmp_path: Path) -> None:
    code = "mov rax, 0x1fffff\nmov byte ptr [rax], 1\nmov eax, 0xfffffffc\nmov ecx, [rax]\nhlt"
    with Machine(program(tmp_path, LONG, code)) as machine:
        assert machine.run().outcome is Outcome.HALTED
        assert machine.ram[0x1FFFFF] == 1
        assert machine.vcpu.get_regs().rcx == 0xFFFFFFFF


def test_beyond_4_gib_is_a_page_fault(tmp_path: Path) -> None:
    code = "mov rax, 0x100000000\nmov ecx, [rax]\nhlt"
    with Machine(program(tmp_path, LONG, code)) as machine:
        ending = machine.run()
        assert ending.outcome is Outcome.SHUTDOWN
        assert "page fault (#PF) at 0x100000000" in ending.explanation


def test_an_access_to_nothing_is_told_and_answered_as_on_a_pc(tmp_path: Path) -> None:
    code = "mov edi, 0xe0000000\nmov [rdi], eax\nmov ecx, [rdi]\nin al, 0x99\nhlt"
    with Machine(program(tmp_path, LONG, code)) as machine:
        result = collect(machine, machine.run())
        assert result.outcome is Outcome.HALTED
        assert result.exit_status == 1
        assert result.registers["rcx"] == 0xFFFFFFFF
        assert result.registers["rax"] == 0xFF
        assert [m.rule for m in result.mistakes] == ["machine.unassigned"] * 3
        assert [m.location.split(":")[1][0] for m in result.mistakes] == ["6", "7", "8"]
        assert "guest-physical address 0xe0000000" in result.mistakes[0].message
        assert "port 0x99" in result.mistakes[2].message


def test_an_access_cut_by_a_page_end_reaches_devices_in_powers_of_two(tmp_path: Path) -> None:
    block = LONG + 'devices = ["mmio-nic", "mmio-nic"]'
    code = """
        mov edi, 0xd0000ffd
        mov rax, 0x1122334455667788
        mov [rdi], rax              # 3 bytes for the first card, 5 for the second
        mov rcx, [rdi]
        hlt
    """
    with Machine(program(tmp_path, block, code), trace=True) as machine:
        machine.run()
        writes = [e.fields for e in machine.trace if e.kind.name == "memory_region_ops_write"]
        assert [(w["region"], w["offset"], w["size"], w["value"]) for w in writes] == [
            ("mmio-nic", 0xFFD, 3, 0x667788),
            ("mmio-nic2", 0, 5, 0x1122334455),
        ]
        # The first card's buffer kept its three bytes; the second's ID register is read-only.
        assert machine.vcpu.get_regs().rcx & 0xFFFFFF == 0x667788


def test_the_frame_table_names_every_frame_where_it_lies(tmp_path: Path) -> None:
    frames = [bytes([n]) * (60 + n) for n in range(1, 6)]
    block = LONG + 'devices = ["mmio-nic"]'
    with Machine(program(tmp_path, block), NetBackend(frames)) as machine:
        count, total = unpack_from("<II", machine.ram, FRAME_TABLE)
        assert (count, total) == (5, sum(map(len, frames)))
        seen = []
        for n in range(count):
            at = FRAME_TABLE + FRAME_TABLE_HEADER + n * FRAME_ENTRY
            address, length, zero = unpack_from("<QII", machine.ram, at)
            assert address % 16 == 0
            assert zero == 0
            seen.append(bytes(machine.ram[address : address + length]))
        assert seen == frames


def test_frames_that_do_not_fit_are_an_error_with_the_memory_it_takes(tmp_path: Path) -> None:
    block = LONG + 'memory = "2M"\ndevices = ["mmio-nic"]'
    with pytest.raises(InputError, match="do not fit") as caught:
        Machine(program(tmp_path, block), NetBackend([bytes(1500)] * 1000))
    assert 'memory = "4M"' in str(caught.value.hint)
    enough = program(tmp_path, block.replace("2M", "4M"))
    Machine(enough, NetBackend([bytes(1500)] * 1000)).close()


def test_too_many_frames_for_the_table_are_an_error(tmp_path: Path) -> None:
    block = LONG + 'memory = "16M"\ndevices = ["mmio-nic"]'
    with pytest.raises(InputError, match="4096 frames"):
        Machine(program(tmp_path, block), NetBackend([bytes(60)] * 4096))


def test_a_budget_ends_at_its_very_instruction_and_can_be_raised(tmp_path: Path) -> None:
    with Machine(program(tmp_path, LONG, "1: inc rax\njmp 1b")) as machine:
        for budget in (1, 2, 1000, 12345):
            assert machine.run(budget).outcome is Outcome.BUDGET
            assert machine.vcpu.instructions == budget


def test_tracing_changes_nothing_and_two_runs_are_the_same(tmp_path: Path) -> None:
    results = []
    for trace in (False, True, True):
        with Machine(load_program("virtio_net_tx"), NetBackend([bytes(60)]), trace=trace) as m:
            result = collect(m, m.run()).to_json()
            events = [(e.clock, e.kind.name, str(e.fields)) for e in m.trace]
            results.append((result, events))
    assert results[0][0] == results[1][0]
    assert results[1] == results[2]
    assert results[0][1] == []


def test_copies_in_the_trace_are_the_copies_in_the_ledger(tmp_path: Path) -> None:
    for name in ("virtio_net_tx", "mmio_nic_tx", "hello_protected", "hello_mmio"):
        with Machine(load_program(name), NetBackend([bytes(61)]), trace=True) as machine:
            machine.run()
            seen: dict[str, tuple[int, int]] = {}
            for event in machine.trace:
                if event.kind.name == "copy":
                    hop = event.fields["hop"]
                    count, size = seen.get(hop, (0, 0))
                    seen[hop] = (count + 1, size + event.fields["bytes"])
            ledger = machine.ledger
            assert seen == {h.name: (h.count, h.bytes) for h in ledger.hops if h.count}
            exits = [e for e in machine.trace if e.kind.name == "vm_exit"]
            returns = [e for e in machine.trace if e.kind.name == "kvm_userspace_exit"]
            assert len(exits) == ledger.total_exits
            assert len(returns) == ledger.userspace_exits
            assert [e.clock for e in machine.trace] == sorted(e.clock for e in machine.trace)


@pytest.mark.parametrize(
    ("block", "code", "message"),
    [
        ('mode = "long"\norigin = 0x9000', "hlt", "lies on the boot page tables"),
        ('mode = "long"\norigin = 0x500', "hlt", "lies on the boot GDT"),
        ('mode = "protected"\norigin = 0x400', ".zero 300\nhlt", "lies on the boot GDT"),
        (
            'mode = "long"\norigin = 0x10000\ndevices = ["virtio-net"]',
            "hlt",
            "lies on the frame table",
        ),
        (
            'mode = "protected"\nmemory = "64K"\norigin = 0x1000\ndevices = ["mmio-nic"]',
            "hlt",
            "does not fit into the memory",
        ),
    ],
)
def test_a_program_on_the_boot_tables_is_an_error_not_a_crash(
    tmp_path: Path, block: str, code: str, message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        Machine(program(tmp_path, f'title = "t"\n{block}', code))


@pytest.mark.parametrize("native", [True, False])
def test_ctrl_c_stops_a_guest_that_never_exits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    if not native:
        monkeypatch.setattr(clock, "native_counter", lambda: None)
    with Machine(program(tmp_path, LONG, "1: jmp 1b")) as machine:
        for _ in range(5):
            threading.Timer(0.03, signal.raise_signal, [signal.SIGINT]).start()
            with pytest.raises(KeyboardInterrupt):
                machine.run(10**15)
        assert machine.vcpu.instructions > 0


def test_ctrl_c_stops_a_guest_that_exits_all_the_time(tmp_path: Path) -> None:
    with Machine(program(tmp_path, LONG, "1: out 0x80, al\njmp 1b")) as machine:
        threading.Timer(0.03, signal.raise_signal, [signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            machine.run(10**15)


def test_the_trace_shows_hlt_where_it_is(tmp_path: Path) -> None:
    with Machine(program(tmp_path, LONG, "nop\nhlt"), trace=True) as machine:
        machine.run()
        [exit_] = [e for e in machine.trace if e.kind.name == "vm_exit"]
        assert exit_.fields["rip"] == 0x100001
        assert machine.vcpu.get_regs().rip == 0x100002


def test_a_trace_ends_at_its_limit_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trace, "LIMIT", 100)
    code = "mov ecx, 1000\n1: out 0x80, al\nloop 1b\nhlt"
    block = LONG + 'devices = ["debugcon"]'
    with Machine(program(tmp_path, block, code.replace("0x80", "0xe9")), trace=True) as machine:
        assert machine.run().outcome is Outcome.HALTED
        assert machine.trace.is_full
        assert 100 < len(machine.trace.records) < 110
        assert list(machine.trace)[-1].kind.name == "trace_full"
        assert machine.ledger.total_exits == 1001


@pytest.mark.parametrize("code", ["nop", "add eax, 1", "mov eax, 1\nnop\nnop"])
def test_a_forgotten_hlt_is_found_at_the_last_instruction(tmp_path: Path, code: str) -> None:
    with Machine(program(tmp_path, LONG, code)) as machine:
        result = collect(machine, machine.run())
        assert result.outcome is Outcome.INTERNAL_ERROR
        assert "is a hlt missing?" in result.explanation
        assert "jumped" not in result.explanation
        last = 4 + code.count("\n") + 1
        assert f"guest.s:{last} (" in result.location


def test_a_jump_out_of_the_program_is_not_taken_for_a_forgotten_hlt(tmp_path: Path) -> None:
    with Machine(program(tmp_path, LONG, "mov eax, 0x300000\njmp rax")) as machine:
        result = collect(machine, machine.run())
        assert "jumped to 0x300000" in result.explanation
        assert "hlt" not in result.explanation
        assert "guest.s:6 (" in result.location


def test_a_load_in_two_parts_is_not_made_again_for_its_store(tmp_path: Path) -> None:
    """MOVSQ from the border of two device pages to that of RAM, where exits are logged."""
    code = "mov esi, 0x200ffc\nmov edi, 0x1ffffe\nmovsq\ncli\nhlt"
    with Machine(program(tmp_path, LONG + 'devices = ["pic"]', code)) as machine:
        assert machine.run().outcome is Outcome.HALTED
        assert machine.ledger.userspace[KvmExit.MMIO] == 3


@pytest.mark.parametrize("devices", ["", '"pic"'], ids=["no interrupts", "interrupts"])
@pytest.mark.parametrize(
    ("code", "exits"),
    [
        ("mov al, [0x200000]\nmov bx, [0x1fffff]", [(0x200000, 1), (0x200000, 1)]),
        ("mov bx, [0x1fffff]\nmov bx, [0x1fffff]", [(0x200000, 1), (0x200000, 1)]),
        ("mov esi, 0x200100\nmov edi, 0x1fffff\nmovsw", [(0x200100, 2), (0x200000, 1)]),
        ("mov esp, 0x200100\npop qword ptr [0x1ffffc]", [(0x200100, 8), (0x200000, 4)]),
    ],
)
def test_an_access_across_the_end_of_ram_is_made_once(
    tmp_path: Path, devices: str, code: str, exits: list[tuple[int, int]]
) -> None:
    """It is begun anew, to see where it leads; a load before it is not made again."""
    block = LONG + f"devices = [{devices}]"
    with Machine(program(tmp_path, block, f"{code}\ncli\nhlt")) as machine:
        found = []
        inner = machine.vcpu.run

        def run() -> None:
            inner()
            if machine.vcpu.kvm_run.exit_reason == KvmExit.MMIO:
                mmio = machine.vcpu.kvm_run.mmio
                found.append((mmio.phys_addr, mmio.len))

        machine.vcpu.run = run
        assert machine.run().outcome is Outcome.HALTED
    assert found == exits
