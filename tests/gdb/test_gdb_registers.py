"""The target description, and the registers in its order."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from gdb_kit import client, program_of

from toyvisor.debug.gdb.target_description import describe
from toyvisor.modes import CpuMode

FLOATING = """\
        fninit
        fldpi
        fld1
        mov     eax, 0x12345678
        .byte   0x66, 0x0f, 0x6e, 0xd8          # movd xmm3, eax
        hlt
"""


@pytest.mark.parametrize(
    ("mode", "architecture", "count", "last_general"),
    [(CpuMode.REAL, "i8086", 45, "edi"), (CpuMode.PROTECTED, "i386", 45, "edi"),
     (CpuMode.LONG, "i386:x86-64", 65, "r15")],
)  # fmt: skip
def test_a_description_is_a_document_that_gdb_takes(mode, architecture, count, last_general):
    description = describe(mode)
    target = ElementTree.fromstring(description.xml())
    assert target.findtext("architecture") == architecture
    names = [reg.get("name") for reg in target.iter("reg")]
    assert len(names) == len(set(names)) == count
    assert names.index(last_general) == (15 if mode is CpuMode.LONG else 7)
    assert [register.name for register in description.registers] == names
    features = [feature.get("name") for feature in target.iter("feature")]
    assert features[:2] == ["org.gnu.gdb.i386.core", "org.gnu.gdb.i386.sse"]
    types = {node.get("id") for node in target.iter() if node.get("id")}
    for reg in target.iter("reg"):
        own_type = reg.get("type")
        assert not own_type.startswith(("x86_", "vec")) or own_type in types


def test_all_registers_are_those_of_the_session():
    with client("virtio_net_tx") as gdb:
        gdb.session.go_to_instruction(100)
        regs, sregs = gdb.session.registers(), gdb.session.sregs()
        for name in ("rax", "rsp", "r15", "rip"):
            assert gdb.register(name) == getattr(regs, name)
        assert gdb.register("eflags") == regs.rflags & 0xFFFFFFFF
        assert (gdb.register("cs"), gdb.register("ss")) == (8, 0x10)
        assert (gdb.register("cr0"), gdb.register("cr3")) == (sregs.cr0, sregs.cr3)
        assert gdb.register("efer") == sregs.efer == 0x500


def test_g_holds_all_registers_one_behind_the_other():
    with client("hello_serial") as gdb:
        gdb.stop("s")
        everything = bytes.fromhex(gdb.ask("g"))
        sizes = [register.size for register in describe(CpuMode.LONG).registers]
        assert len(everything) == sum(sizes) == 600
        position = 0
        for number, size in enumerate(sizes):
            assert gdb.ask(f"p{number:x}") == everything[position : position + size].hex()
            position += size
        assert everything[16 * 8 : 17 * 8] == (0x100007).to_bytes(8, "little")  # rip


@pytest.mark.parametrize(("mode", "steps"), [("protected", 5), ("long", 5)])
def test_x87_and_sse_registers(tmp_path, mode, steps):
    with client(program_of(tmp_path, FLOATING, mode)) as gdb:
        gdb.session.step(count=steps)
        assert gdb.register("st0") == 0x3FFF_8000000000000000  # 1.0
        assert gdb.register("st1") == 0x4000_C90FDAA22168C235  # pi
        assert gdb.register("fctrl") == 0x37F
        assert gdb.register("fstat") >> 11 & 7 == 6  # TOP
        assert gdb.register("ftag") == 0x0FFF
        assert gdb.register("fioff") == 0x100004  # fld1, the last one
        assert gdb.register("xmm3") == 0x12345678
        assert gdb.register("mxcsr") == 0x1F80


def test_registers_of_a_real_mode_guest_are_the_386s():
    with client("add") as gdb:
        gdb.stop("s")
        assert gdb.register("eip") == 0x1003
        assert (gdb.register("eax"), gdb.register("ebx"), gdb.register("edx")) == (2, 2, 0x3F8)
        assert len(bytes.fromhex(gdb.ask("g"))) == 16 * 4 + 8 * 10 + 8 * 4 + 8 * 16 + 4 + 4 * 4


def test_the_bases_of_fs_and_gs_follow_the_guest(tmp_path):
    source = """\
        mov     ecx, 0xc0000100
        mov     eax, 0x5000
        mov     edx, 0x7
        wrmsr
        hlt
"""
    with client(program_of(tmp_path, source)) as gdb:
        assert gdb.register("fs_base") == 0
        gdb.session.step(count=4)
        assert (gdb.register("fs_base"), gdb.register("gs_base")) == (0x7_0000_5000, 0)


def test_setting_a_register_begins_a_branch_and_the_same_value_does_not():
    with client("hello_serial") as gdb:
        assert gdb.ask("P0=0000000000000000") == "OK"
        assert gdb.session.branch == 0
        assert gdb.ask("P0=3412000000000000") == "OK"
        assert (gdb.session.branch, gdb.session.registers().rax) == (1, 0x1234)
        assert gdb.ask("P11=d7000000") == "OK"  # eflags
        assert gdb.session.registers().rflags == 0xD7


def test_g_sets_only_what_differs():
    with client("hello_serial") as gdb:
        everything = gdb.ask("g")
        assert gdb.ask(f"G{everything}") == "OK"
        assert gdb.session.branch == 0
        assert gdb.ask(f"G{'2a' + everything[2:]}") == "OK"
        assert gdb.session.registers().rax == 0x2A


def test_what_cannot_be_set_is_refused_in_words():
    with client("hello_serial") as gdb:
        cr0 = [register.name for register in describe(CpuMode.LONG).registers].index("cr0")
        refusal = gdb.ask(f"P{cr0:x}=0000000000000000")
        assert refusal == "E.cr0 can't be changed (hint: general registers, rip and eflags can)"
        assert gdb.ask("P0=00") == "E.rax has 8 bytes, not 1"
        assert gdb.ask("Pffff=00") == "E.there is no register 65535"
        assert gdb.ask("p8000") == "E.there is no register 32768"
        assert gdb.ask("G00") == "E.1 bytes are not all registers"
        assert gdb.session.branch == 0


def test_inside_an_exit_registers_are_shown_and_not_set():
    with client("hello_serial") as gdb:
        gdb.monitor("exit")
        assert gdb.register("rip") == 0x100012
        assert gdb.ask("P0=3412000000000000").startswith("E.inside an exit")
