"""A FILE argument that may or may not have a machine block."""

from __future__ import annotations

from pathlib import Path

from toyvisor.errors import SourceError
from toyvisor.guest.assembler import assemble_file
from toyvisor.guest.assembly import Assembly
from toyvisor.guest.library import find_program
from toyvisor.guest.program import DEFAULT_ORIGIN, MachineSpec, read_machine
from toyvisor.guest.source import read_source
from toyvisor.modes import CpuMode


def machine_of(path: Path) -> MachineSpec | None:
    """The file's machine block; None if it has none. Raises SourceError for a bad one."""
    source = read_source(path)
    try:
        return read_machine(source)
    except SourceError:
        if "/// machine" in source.text:
            raise
        return None


def mode_and_origin(path: Path, mode: str | None, origin: int | None) -> tuple[CpuMode, int]:
    """What was asked for, else what the machine block says, else 64-bit code at its place."""
    spec = machine_of(path)
    own_mode = spec.mode if spec else CpuMode.LONG
    chosen = CpuMode(mode) if mode is not None else own_mode
    if origin is None:
        fits = spec is not None and spec.mode is chosen
        origin = spec.origin if spec is not None and fits else DEFAULT_ORIGIN[chosen]
    return chosen, origin


def assemble_for(name: str, mode: str | None, origin: int | None) -> Assembly:
    """Assemble a file or shipped program with the given or its own mode and origin."""
    path = find_program(name)
    chosen, at = mode_and_origin(path, mode, origin)
    return assemble_file(path, mode=chosen, origin=at)
