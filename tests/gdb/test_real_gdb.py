"""An unmodified gdb in batch mode, over `target remote | toyvisor gdb PROGRAM --stdio`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from gdb_kit import COUNTER, gdb, needs_gdb, program_of

from toyvisor.commands.run import default_net
from toyvisor.debug.session import Session
from toyvisor.guest.program import load_program
from toyvisor.host.net import open_net

pytestmark = needs_gdb

NO_MORE = "No more reverse-execution history."


def values(lines: Sequence[str]) -> list[str]:
    """What `print` and `output` commands showed: `$1 = ...`."""
    return [found[1] for line in lines if (found := re.match(r"\$\d+ = (.*)", line))]


def registers(lines: Sequence[str]) -> dict[str, int]:
    """What `info registers` showed; the last time, if more than once."""
    return {
        found[1]: int(found[2], 16)
        for line in lines
        if (found := re.match(r"(\w+) +(0x[0-9a-f]+) ", line))
    }


@pytest.mark.parametrize(("program", "instructions"), [
    ("hello_serial", 0), ("hello_serial", 30), ("virtio_net_tx", 150), ("timer_tick", 300),
    ("hello_protected", 20), ("add", 5), ("timer_tick_real", 90), ("user_mode", 120),
])  # fmt: skip
def test_gdb_shows_the_registers_of_the_session(program, instructions):
    shown = registers(
        gdb(program, f"stepi {instructions}" if instructions else "", "info registers")
    )
    of = load_program(program)
    with Session(of, open_net(default_net(of))) as session:
        session.step(count=instructions)
        regs, sregs = session.registers(), session.sregs()
        letter = "r" if "rax" in shown else "e"
        assert letter == ("r" if of.spec.mode == "long" else "e")
        for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp", "ip"):
            assert shown[letter + name] == getattr(regs, f"r{name}"), name
        assert shown["eflags"] == regs.rflags
        for name in ("cs", "ss", "ds", "es", "fs", "gs"):
            assert shown[name] == getattr(sregs, name).selector
        for name in ("cr0", "cr2", "cr3", "cr4"):
            assert shown[name] == getattr(sregs, name)
        if letter == "r":
            assert [shown[f"r{n}"] for n in range(8, 16)] == [
                getattr(regs, f"r{n}") for n in range(8, 16)
            ]


def test_flags_are_shown_by_name():
    lines = gdb("hello_serial", "info registers eflags cr0 cr4 efer")
    assert [re.sub(r" +", " ", line) for line in lines[-5:-1]] == [
        "eflags 0x2 [ IOPL=0 ]", "cr0 0x80000031 [ PE ET NE PG ]",
        "cr4 0x620 [ PAE OSFXSR OSXMMEXCPT ]", "efer 0x500 [ LME LMA ]",
    ]  # fmt: skip


def test_it_knows_labels_and_lines_without_being_given_a_file():
    lines = gdb("hello_serial", "info symbol 0x100015", "x/s &text", "info line hello_serial.s:29",
                "break 35", "continue")  # fmt: skip
    assert "_start () at " in "\n".join(lines)
    assert "wait_room + 3 in section .text" in lines
    assert '0x100021 <text>:\t"Hello from long mode\\n"' in lines
    assert any(line.startswith("Line 29 of ") and "0x100012 <wait_room>" in line for line in lines)
    assert "35\t        out     dx, al                  ; EXIT: QEMU write()s the byte" in lines
    assert not [line for line in lines if line.startswith("warning") and "slow" not in line]


def test_stepi_and_reverse_stepi():
    lines = gdb("hello_serial", "stepi 4", "output $rip", "reverse-stepi", "output $rip",
                "reverse-stepi 3", "output $rip", "reverse-stepi")  # fmt: skip
    assert re.findall(r"0x\w+ <[\w+]+>", "\n".join(lines)) == [
        "0x10000c <next+5>", "0x10000a <next+3>", "0x100000 <_start>",
    ]  # fmt: skip
    assert NO_MORE in lines


def test_steps_by_line_in_both_directions(tmp_path):
    source = "_start:\n\tcall f\n\tnop\n\thlt\nf:\n\tmov al, 1\n\tret\n"
    lines = gdb(program_of(tmp_path, source), "step", "step", "step", "reverse-step",
                "reverse-finish", "next", "next", "reverse-next", "reverse-next")  # fmt: skip
    shown = [line.partition("\t")[0] for line in lines if re.match(r"\d+\t", line)]
    #                 the start, steps into f and out, back into it and out, over it and back
    assert shown == ["5", "9", "10", "6", "10", "5", "6", "7", "6", "5"]


def test_breakpoints_forwards_and_backwards():
    lines = gdb("hello_serial", "break wait_room if $bl == 'l'", "continue", "continue",
                "info registers rbx", "reverse-continue", "delete", "reverse-continue",
                "break *0x100020", "continue", "continue", "reverse-continue")  # fmt: skip
    text = "\n".join(lines)
    assert lines.count("Breakpoint 1, wait_room () at " + _place("hello_serial", 29)) == 3
    assert text.count("Breakpoint 2, done () at ") == 2
    assert lines.count(NO_MORE) == 2  # back to the start, and on to the end
    assert text.index("Hello from long mode") < text.index("Breakpoint 2, done")
    assert "the run is over: halted: the guest executed HLT" in lines
    assert registers(lines)["rbx"] == ord("l")


def _place(program: str, line: int) -> str:
    return f"{load_program(program).path}:{line}"


def test_a_watched_number_forwards_and_backwards(tmp_path):
    lines = gdb(program_of(tmp_path, COUNTER), "watch *(int*)&count", "continue", "continue",
                "reverse-continue", "reverse-continue", "reverse-continue")  # fmt: skip
    assert "Hardware watchpoint 1: *(int*)&count" in lines
    found = re.findall(r"Old value = (\d)\nNew value = (\d)", "\n".join(lines))
    assert found == [("0", "1"), ("1", "2"), ("2", "1"), ("1", "0")]
    assert NO_MORE in lines


def test_what_a_device_writes_into_memory_is_seen():
    """The used index of the ring: QEMU's store, in the middle of the kick's exit."""
    program = load_program("virtio_net_tx")
    used_index = program.assembly.symbols["VIRTQ_USED"] + 2
    lines = gdb("virtio_net_tx", f"watch *(short*){used_index:#x}", "continue", "continue",
                "monitor events 40")  # fmt: skip
    assert re.findall(r"New value = (\d)", "\n".join(lines)) == ["1", "2"]
    assert any("virtqueue_flush" in line or "virtio_notify" in line for line in lines)


def test_a_register_is_watched_step_by_step():
    lines = gdb("hello_protected", "watch $ecx", "continue", "continue")
    assert "Watchpoint 1: $ecx" in lines
    assert re.findall(r"New value = (\d+)", "\n".join(lines)) == ["26", "25"]


def test_a_changed_memory_is_a_what_if_that_can_be_left():
    lines = gdb("hello_serial", "set var *(char*)&text = 'J'", "continue", "monitor where",
                "monitor leave", "maintenance flush register-cache", "continue")  # fmt: skip
    text = "\n".join(lines)
    assert text.index("Jello from long mode") < text.index("Hello from long mode")
    assert "instruction 257, event 382, inside an exit, 1 changes deep" in lines


def test_a_changed_register_is_a_what_if():
    lines = gdb("add", "set $bl = 5", "print $bl", "continue", "print $cr0", "set $cr0 = 0")
    assert values(lines)[0] == "5"
    assert "7" in lines  # 2 + 5, on the console
    assert any("cr0 can't be changed" in line for line in lines)


def test_monitor_shows_the_layers_below():
    lines = gdb("one_store", "monitor exit", "monitor event-step",
                "maintenance flush register-cache", "print $rip", "monitor exits", "stepi",
                "print $rip", "monitor nothing")  # fmt: skip
    assert "3        2 KVM   kvm_mmio: mmio write len 4 gpa 0xd0000018 val 0x12345678" in lines
    assert "1 vmexits: 0 to QEMU, 1 in KVM" in lines
    assert [re.findall(r"0x\w+", value)[0] for value in values(lines)] == ["0x10000a", "0x10000d"]
    assert "error: there is no monitor command 'nothing' (hint: monitor help)" in lines


def test_16_bit_code_is_disassembled_as_such():
    lines = gdb("timer_tick_real", "show architecture", "break timer", "continue", "x/2i $pc")
    assert 'The target architecture is set to "auto" (currently "i8086").' in lines
    assert any(re.fullmatch(r"=> 0x\w+ <timer>:\tincw +0x\w+", line) for line in lines)
    assert any(re.fullmatch(r"   0x\w+ <timer\+4>:\tpush +%ax", line) for line in lines)


@pytest.mark.parametrize(
    ("program", "architecture"), [("hello_protected", "i386"), ("hello_serial", "i386:x86-64")]
)
def test_32_and_64_bit_architectures(program, architecture):
    lines = gdb(program, "show architecture")
    assert f'The target architecture is set to "auto" (currently "{architecture}").' in lines


def test_a_guest_without_an_end_is_stopped_by_ctrl_c():
    press = "threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()"
    lines = gdb("spin", f"python import os, signal, threading; {press}", "continue", "stepi",
                "print $rip", options="--max-instructions 1000000000000")  # fmt: skip
    if any("Python scripting is not supported" in line for line in lines):
        pytest.skip("this gdb has no Python to press Ctrl-C with")
    assert "Program received signal SIGINT, Interrupt." in lines
    assert values(lines) == ["(void (*)()) 0x100000 <_start>"]


def test_reads_can_not_be_watched_and_gdb_says_so():
    lines = gdb("hello_serial", "rwatch *(char*)&text", "continue")
    assert "Could not insert hardware watchpoint 1." in lines


def test_memory_that_is_not_there():
    lines = gdb("hello_serial", "x/4xb 0x1ffffe", "x/1xw 0xd0000000", "print/x *(char*)&text")
    text = "\n".join(lines)
    assert "Cannot access memory at address 0x200000" in text
    assert "Cannot access memory at address 0xd0000000" in text
    assert values(lines) == ["0x48"]
