"""A guest program as an ELF file, for gdb to know its labels and its lines.

The flat image is its .text. Labels are symbols of .text; constants that name a place in RAM are
absolute ones; all other constants are left out, or gdb would call every small number by one of
them.

Source: System V ABI, "Object Files" (ELF header, sections, symbol table, program header).
"""

from __future__ import annotations

import os
from struct import pack
from typing import NamedTuple

from toyvisor.debug.gdb.dwarf import Row, line_sections
from toyvisor.debug.views.labels import labels_of
from toyvisor.guest.program import Program
from toyvisor.modes import CpuMode

_ET_EXEC, _EV_CURRENT = 2, 1
#: EM_X86_64, EM_386. ELF has no number for the 8086, and 386 would make gdb disassemble as for
#: one. EM_NONE leaves it to the target description.
_MACHINES = {CpuMode.LONG: 62, CpuMode.PROTECTED: 3, CpuMode.REAL: 0}
_PT_LOAD, _PF_RWX = 1, 7
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_STRTAB = 1, 2, 3
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_SHN_ABS = 0xFFF1
_STB_GLOBAL = 1 << 4
_PAGE = 0x1000
_TEXT_INDEX = 1


class _Form(NamedTuple):
    """The two widths of ELF: struct formats without byte order."""

    is_64: bool
    word: str  # an address, an offset or a size
    header: int
    program_header: int
    section_header: int
    symbol: int


_ELF32 = _Form(False, "I", 52, 32, 40, 16)
_ELF64 = _Form(True, "Q", 64, 56, 64, 24)


class _Section(NamedTuple):
    name: str
    type: int
    data: bytes
    flags: int = 0
    address: int = 0
    link: int = 0
    info: int = 0
    entry_size: int = 0
    alignment: int = 1


def symbol_file(program: Program) -> bytes:
    """The bytes of the ELF file: 64-bit for a guest in long mode, else 32-bit."""
    form = _ELF64 if program.spec.mode is CpuMode.LONG else _ELF32
    assembly = program.assembly
    strings = _Strings()
    symbols = _symbols(program, strings, form)
    debug = line_sections(_rows(program), os.path.abspath(program.path), 8 if form.is_64 else 4)
    text_flags = _SHF_WRITE | _SHF_ALLOC | _SHF_EXECINSTR
    sections = [
        _Section("", 0, b"", alignment=0),
        _Section(".text", _SHT_PROGBITS, assembly.image, text_flags, assembly.origin),
        *(_Section(name, _SHT_PROGBITS, data) for name, data in debug.items()),
    ]
    first_global = 1
    sections += [
        _Section(".symtab", _SHT_SYMTAB, symbols, link=len(sections) + 1, info=first_global,
                 entry_size=form.symbol, alignment=8),
        _Section(".strtab", _SHT_STRTAB, bytes(strings.data)),
    ]  # fmt: skip
    return _laid_out(sections, form, program)


class _Strings:
    """A string table; a name is its offset."""

    def __init__(self) -> None:
        self.data = bytearray(b"\0")

    def add(self, name: str) -> int:
        offset = len(self.data)
        self.data += name.encode("utf-8", "surrogateescape") + b"\0"
        return offset


def _symbols(program: Program, strings: _Strings, form: _Form) -> bytes:
    labels = labels_of(program)
    found = bytearray(form.symbol)  # the first one is none
    for name, value in program.assembly.symbols.items():
        if name in labels.at(value):
            section = _TEXT_INDEX
        elif labels.near(value) == name:
            section = _SHN_ABS
        else:
            continue
        offset = strings.add(name)
        if form.is_64:
            found += pack("<IBBHQQ", offset, _STB_GLOBAL, 0, section, value, 0)
        else:
            found += pack("<IIIBBH", offset, value, 0, _STB_GLOBAL, 0, section)
    return bytes(found)


def _rows(program: Program) -> list[Row]:
    """With absolute names: gdb may look for the sources from another folder."""
    return [
        Row(line.address, len(line.data), os.path.abspath(line.location.file), line.location.line)
        for line in program.assembly.listing.lines
        if line.data
    ]


# The file ---------------------------------------------------------------------------------


def _laid_out(sections: list[_Section], form: _Form, program: Program) -> bytes:
    """Header, program header, the sections' data, and the section headers."""
    names = _Strings()
    name_offsets = [names.add(section.name) for section in sections]
    name_offsets.append(names.add(".shstrtab"))
    sections = [*sections, _Section(".shstrtab", _SHT_STRTAB, bytes(names.data))]
    body = bytearray()
    headers = bytearray()
    for section, name in zip(sections, name_offsets, strict=True):
        body += bytes(-(_PAGE + len(body)) % (section.alignment or 1))
        offset = _PAGE + len(body)
        headers += pack(
            f"<II{4 * form.word}II{2 * form.word}", name, section.type, section.flags,
            section.address, offset if section.type else 0, len(section.data), section.link,
            section.info, section.alignment, section.entry_size,
        )  # fmt: skip
        body += section.data
    body += bytes(-len(body) % 8)
    assembly, machine = program.assembly, _MACHINES[program.spec.mode]
    head = _header(form, machine, assembly.entry, _PAGE + len(body), len(sections))
    head += _program_header(form, assembly.origin, len(assembly.image))
    return head.ljust(_PAGE, b"\0") + bytes(body) + bytes(headers)


def _header(form: _Form, machine: int, entry: int, section_headers: int, sections: int) -> bytes:
    identity = b"\x7fELF" + bytes((2 if form.is_64 else 1, 1, _EV_CURRENT))
    return identity.ljust(16, b"\0") + pack(
        f"<HHI{3 * form.word}I6H", _ET_EXEC, machine, _EV_CURRENT,
        entry, form.header, section_headers, 0, form.header, form.program_header, 1,
        form.section_header, sections, sections - 1,
    )  # fmt: skip


def _program_header(form: _Form, origin: int, size: int) -> bytes:
    """The image is the first section with data, so it begins the second page of the file."""
    place = (_PAGE, origin, origin, size, size)
    if form.is_64:
        return pack("<II6Q", _PT_LOAD, _PF_RWX, *place, 1)
    return pack("<8I", _PT_LOAD, *place, _PF_RWX, 1)
