"""The structures and numbers are Linux's own, byte for byte."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from toyvisor.kvm import api, ioctls
from toyvisor.kvm.api import Hypercall, InternalError, KvmExit, KvmRegs, KvmRunLayout, KvmSregs

HEADER = Path("/usr/include/linux/kvm.h")


def test_kvm_run_has_the_layout_that_every_client_of_kvm_compiles_in() -> None:
    assert KvmRunLayout.exit_reason.offset == 8
    assert KvmRunLayout.cr8.offset == 16
    assert api.EXIT_OFFSET == 32
    assert api.MMIO_DATA_OFFSET == 40
    assert api.Mmio.len.offset == 16
    assert api.Mmio.is_write.offset == 20
    assert api.Io.data_offset.offset == 8
    assert ctypes.sizeof(KvmRunLayout) == 2352
    assert ctypes.sizeof(KvmRegs) == 144
    assert ctypes.sizeof(KvmSregs) == 312


def test_packed_writes_and_named_fields_are_the_same_bytes() -> None:
    run = api.KvmRun(bytearray(api.VCPU_MMAP_SIZE))
    api.MMIO_LAYOUT.pack_into(run.mapping, api.EXIT_OFFSET, 0xD0000050, 0x1122, 2, True)
    assert (run.mmio.phys_addr, run.mmio.len, run.mmio.is_write) == (0xD0000050, 2, 1)
    assert bytes(run.mmio.data) == b"\x22\x11" + bytes(6)
    api.IO_LAYOUT.pack_into(run.mapping, api.EXIT_OFFSET, 1, 4, 0x3F8, 7, 4096)
    io = run.io
    assert (io.direction, io.size, io.port, io.count, io.data_offset) == (1, 4, 0x3F8, 7, 4096)


#: The names of Linux's structures, by ours.
STRUCTURES = {
    ioctls.UserspaceMemoryRegion: "kvm_userspace_memory_region",
    ioctls.CpuidEntry2: "kvm_cpuid_entry2",
    ioctls.EnableCap: "kvm_enable_cap",
    ioctls.IrqLevel: "kvm_irq_level",
    ioctls.PitConfig: "kvm_pit_config",
    ioctls.IoEventFdArgs: "kvm_ioeventfd",
    ioctls.IrqFdArgs: "kvm_irqfd",
    ioctls.KvmPicState: "kvm_pic_state",
    ioctls.PitChannelState: "kvm_pit_channel_state",
    ioctls.PitState2: "kvm_pit_state2",
    ioctls.GuestDebug: "kvm_guest_debug",
    ioctls.MpState: "kvm_mp_state",
}
#: Those of its constants that have another prefix than KVM_, or another name.
CONSTANTS = {
    "IOEVENTFD_DATAMATCH": "KVM_IOEVENTFD_FLAG_DATAMATCH",
    "IOEVENTFD_PIO": "KVM_IOEVENTFD_FLAG_PIO",
    "IOEVENTFD_DEASSIGN": "KVM_IOEVENTFD_FLAG_DEASSIGN",
    "IRQFD_DEASSIGN": "KVM_IRQFD_FLAG_DEASSIGN",
    "CPUID_ENTRIES": None,  # ours
}
#: Newer than the headers of the systems this has to run on.
TOO_NEW = ("CAP_BINARY_STATS_FD", "GET_STATS_FD", "CAP_EXIT_HYPERCALL")


def ioctls_by_name() -> dict[str, int]:
    """Every number and structure of ioctls.py, as the header calls it."""
    found: dict[str, int] = {}
    for name, value in vars(ioctls).items():
        if name.isupper() and isinstance(value, int) and not name.startswith("_"):
            linux = CONSTANTS.get(name, f"KVM_{name}")
            if linux is not None and name not in TOO_NEW:
                found[linux] = value
    for kind, struct in STRUCTURES.items():
        found[f"sizeof(struct {struct})"] = ctypes.sizeof(kind)
        for field, *_ in kind._fields_:
            if field not in ("pad", "padding", "reserved", "debugreg"):
                found[f"offsetof(struct {struct}, {field})"] = getattr(kind, field).offset
    return found


def test_the_check_against_the_header_covers_the_ioctls() -> None:
    found = ioctls_by_name()
    assert found["KVM_RUN"] == 0xAE80
    assert found["KVM_SET_USER_MEMORY_REGION"] == 0x4020AE46
    assert len(found) > 100


@pytest.mark.skipif(not HEADER.exists(), reason="no <linux/kvm.h> here")
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_linux_own_header_agrees(tmp_path: Path) -> None:
    wanted: dict[str, int] = {
        "sizeof(struct kvm_run)": ctypes.sizeof(KvmRunLayout),
        "sizeof(struct kvm_regs)": ctypes.sizeof(KvmRegs),
        "sizeof(struct kvm_sregs)": ctypes.sizeof(KvmSregs),
        "sizeof(struct kvm_segment)": ctypes.sizeof(api.KvmSegment),
        "sizeof(struct kvm_dtable)": ctypes.sizeof(api.KvmDtable),
    }
    for name in ("immediate_exit", "exit_reason", "if_flag", "flags", "cr8", "apic_base"):
        wanted[f"offsetof(struct kvm_run, {name})"] = getattr(KvmRunLayout, name).offset
    for union, kind in (
        ("mmio", api.Mmio),
        ("io", api.Io),
        ("hypercall", api.HypercallExit),
        ("internal", api.Internal),
        ("fail_entry", api.FailEntry),
    ):
        for field, *_ in kind._fields_:
            offset = api.EXIT_OFFSET + getattr(kind, field).offset
            # Newer headers call it flags, all of them know its first half as longmode.
            name = "longmode" if (union, field) == ("hypercall", "flags") else field
            wanted[f"offsetof(struct kvm_run, {union}.{name})"] = offset
    for struct, kind in (("kvm_regs", KvmRegs), ("kvm_sregs", KvmSregs)):
        for field, *_ in kind._fields_:
            wanted[f"offsetof(struct {struct}, {field})"] = getattr(kind, field).offset
    for exit_ in KvmExit:
        wanted[f"KVM_EXIT_{exit_.name}"] = exit_
    for error, name in (
        (InternalError.EMULATION, "EMULATION"),
        (InternalError.SIMUL_EX, "SIMUL_EX"),
        (InternalError.DELIVERY_EV, "DELIVERY_EV"),
    ):
        wanted[f"KVM_INTERNAL_ERROR_{name}"] = error
    wanted |= ioctls_by_name()
    checks = "\n".join(
        f'_Static_assert((unsigned long)({what}) == {int(number)}ul, "{what}");'
        for what, number in wanted.items()
    )
    source = tmp_path / "check.c"
    source.write_text(f"#include <stddef.h>\n#include <linux/kvm.h>\n{checks}\n")
    done = subprocess.run(
        ["cc", "-fsyntax-only", str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_hypercall_numbers_are_those_of_kvm_para() -> None:
    numbers = {"VAPIC_POLL_IRQ": 1, "KICK_CPU": 5, "CLOCK_PAIRING": 9, "SEND_IPI": 10}
    numbers |= {"SCHED_YIELD": 11, "MAP_GPA_RANGE": 12}
    assert {h.name: h.value for h in Hypercall} == numbers
