"""What CPUID answers: KVM's own table (KVM_SET_CPUID2), never QEMU's business at run time.

Intel SDM vol. 2A, CPUID; Linux: Documentation/virt/kvm/x86/cpuid.rst. The features are
those of QEMU's model "qemu64", all of which Unicorn's processor has: nothing is announced
that would not run.
"""

from __future__ import annotations

from struct import unpack

CpuidRegisters = tuple[int, int, int, int]  # eax, ebx, ecx, edx

KVM_CPUID_SIGNATURE = 0x40000000
KVM_CPUID_FEATURES = 0x40000001

_VENDOR = b"GenuineIntel"  # this processor's exits are VMX's
_BRAND = b"Toyvisor virtual CPU (Unicorn)".ljust(48, b"\0")

# Leaf 1, EDX: FPU DE PSE TSC MSR PAE MCE CX8 SEP MTRR PGE MCA CMOV PAT PSE36 CLFLUSH MMX
# FXSR SSE SSE2. The local APIC (bit 9) is missing: there is none.
_FEATURES_EDX = 0x078BF9FD
# Leaf 1, ECX: SSE3, CMPXCHG16B, and bit 31: running under a hypervisor.
_FEATURES_ECX = 1 << 0 | 1 << 13 | 1 << 31
# Leaf 0x80000001, EDX: SYSCALL, NX, long mode; ECX: LAHF in 64-bit mode.
_EXTENDED_EDX = 1 << 11 | 1 << 20 | 1 << 29
_EXTENDED_ECX = 1 << 0


def _text(leaf_value: int, text: bytes, order: tuple[int, int, int]) -> CpuidRegisters:
    """A 12-byte signature in EBX, ECX, EDX, in the order that the leaf has."""
    parts = unpack("<3I", text.ljust(12, b"\0"))
    ebx, ecx, edx = (parts[i] for i in order)
    return (leaf_value, ebx, ecx, edx)


def _table() -> dict[int, CpuidRegisters]:
    brand = unpack("<12I", _BRAND)
    return {
        0: _text(1, _VENDOR, (0, 2, 1)),
        1: (0x000306A9, 0x00000800, _FEATURES_ECX, _FEATURES_EDX),
        KVM_CPUID_SIGNATURE: _text(KVM_CPUID_FEATURES, b"KVMKVMKVM", (0, 1, 2)),
        KVM_CPUID_FEATURES: (0, 0, 0, 0),
        0x80000000: (0x80000008, 0, 0, 0),
        0x80000001: (0, 0, _EXTENDED_ECX, _EXTENDED_EDX),
        0x80000002: (brand[0], brand[1], brand[2], brand[3]),
        0x80000003: (brand[4], brand[5], brand[6], brand[7]),
        0x80000004: (brand[8], brand[9], brand[10], brand[11]),
        0x80000008: (48 << 8 | 40, 0, 0, 0),
    }


_LEAVES = _table()


def cpuid(leaf: int) -> CpuidRegisters:
    """The registers after CPUID with EAX = `leaf`.

    A leaf past the end of its range answers as the last basic leaf does (SDM vol. 2A).
    """
    found = _LEAVES.get(leaf)
    if found is not None:
        return found
    return _LEAVES[1] if leaf < KVM_CPUID_SIGNATURE or leaf > 0x80000008 else (0, 0, 0, 0)


def leaves() -> dict[int, CpuidRegisters]:
    """The whole table, by leaf: what another KVM is to answer, too (KVM_SET_CPUID2)."""
    return dict(_LEAVES)
