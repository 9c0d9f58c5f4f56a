"""Program files: one `.s` file whose first comment block describes its machine.

In the way of Python's inline script metadata (PEP 723), the block is TOML in comments:

    ; /// machine
    ; title = "virtio-net: send one packet"
    ; mode = "long"                      # real | protected | long
    ; memory = "2M"
    ; devices = ["serial", "virtio-net"]
    ; ///
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from toyvisor.errors import SourceError, SourceLocation
from toyvisor.guest.assembler import assemble_file
from toyvisor.guest.assembly import Assembly
from toyvisor.guest.library import find_program
from toyvisor.guest.machine_block import MachineBlock, find_block
from toyvisor.guest.registers import CONTROL, SEGMENTS, SIZES
from toyvisor.guest.source import SourceText, read_source
from toyvisor.modes import CpuMode

PAGE = 4096
MIN_MEMORY, MAX_MEMORY = 64 << 10, 1 << 30
DEFAULT_MEMORY = 2 << 20
DEFAULT_ORIGIN = {CpuMode.REAL: 0x1000, CpuMode.PROTECTED: 0x100000, CpuMode.LONG: 0x100000}
EXPECTATIONS = ("halt", "shutdown", "internal-error", "budget")
#: Where the frames of `--net pcap:IN,` are: in the guest's memory for it to send, or they come
#: in over the wire, by the clock or one for each answer.
FRAMES = ("table", "wire", "requests")
DEFAULT_CAPTURE = "ordinary.pcap"
KEYS = ("title", "mode", "memory", "devices", "registers", "origin", "expect", "frames",
        "capture")  # fmt: skip

_SETTABLE = frozenset({*SIZES, *SEGMENTS, *CONTROL, "rflags", "eflags", "flags", "efer"})


class DeviceSpec(NamedTuple):
    """One device of the machine. Whether there is such a type, the machine decides."""

    type: str
    options: Mapping[str, Any]
    location: SourceLocation


class MachineSpec(NamedTuple):
    """A validated machine block. `memory` in bytes; `origin` is the load address.

    `expect` is how a run is supposed to end: halt, shutdown, internal-error or budget.
    `frames` is one of FRAMES, `capture` a file with frames for who does not say --net.
    """

    title: str
    mode: CpuMode
    memory: int = DEFAULT_MEMORY
    devices: tuple[DeviceSpec, ...] = ()
    registers: Mapping[str, int] = MappingProxyType({})
    origin: int = 0x100000
    expect: str = "halt"
    block: MachineBlock | None = None
    frames: str = "table"
    capture: str = DEFAULT_CAPTURE

    def device_error(self, index: int, message: str, hint: str | None = None) -> SourceError:
        """An error at the `index`-th device of the block, for whoever knows the devices."""
        location = self.devices[index].location
        line = self.block.source_line(location.line) if self.block else None
        return SourceError(message, location, source_line=line, hint=hint)

    def key_error(self, key: str, message: str, hint: str | None = None) -> SourceError:
        """An error at a key of the block (at its beginning if the key is not there)."""
        if self.block is None:
            return SourceError(message, SourceLocation("<machine>", 1, 1), hint=hint)
        return self.block.error(message, key, hint)


class Program(NamedTuple):
    """A guest program ready to be loaded. `name` is its file's name without suffix."""

    path: Path
    name: str
    spec: MachineSpec
    assembly: Assembly


def load_program(
    name_or_path: str | Path,
    *,
    symbols: Mapping[str, int] | None = None,
    use_cache: bool = True,
) -> Program:
    """Find, read and assemble a program, by path or by the name of a shipped one.

    Raises InputError or SourceError for anything wrong with the file or its block.
    """
    path = find_program(name_or_path)
    spec = read_machine(read_source(path))
    assembly = assemble_file(
        path, mode=spec.mode, origin=spec.origin, symbols=symbols, use_cache=use_cache
    )
    if assembly.origin != spec.origin:  # the source has NASM's org
        if spec.block is not None and spec.block.has("origin"):
            raise spec.key_error(
                "origin",
                f"the program says org {assembly.origin:#x}, its machine {spec.origin:#x}",
                "leave out one of the two",
            )
        spec = spec._replace(origin=assembly.origin)
    _check_fits(spec, assembly)
    return Program(path, path.stem, spec, assembly)


def _check_fits(spec: MachineSpec, assembly: Assembly) -> None:
    end = assembly.origin + len(assembly.image)
    if end > spec.memory:
        raise spec.key_error(
            "memory",
            f"the program ends at {end:#x}, beyond the machine's memory of {spec.memory:#x} bytes",
            "give it more memory, or a lower origin",
        )


def read_machine(source: SourceText) -> MachineSpec:
    """The validated machine block of a source text. Raises SourceError."""
    block = find_block(source)
    _check_keys(block)
    mode = _mode(block)
    return MachineSpec(
        title=_string(block, "title", ""),
        mode=mode,
        memory=_memory(block),
        devices=_devices(block),
        registers=_registers(block),
        origin=_integer(block, "origin", DEFAULT_ORIGIN[mode]),
        expect=_choice(block, "expect", EXPECTATIONS, "halt"),
        block=block,
        frames=_choice(block, "frames", FRAMES, "table"),
        capture=_string(block, "capture", DEFAULT_CAPTURE),
    )


def _check_keys(block: MachineBlock) -> None:
    for key in block.table:
        if key not in KEYS:
            hint = _close(key, KEYS) or f"known keys: {', '.join(KEYS)}"
            raise block.error(f"unknown key '{key}'", key, hint)


def _close(name: str, names: Iterable[str]) -> str | None:
    import difflib

    close = difflib.get_close_matches(name, list(names), 1)
    return f"did you mean {close[0]}?" if close else None


def _string(block: MachineBlock, key: str, default: str) -> str:
    value = block.table.get(key, default)
    if not isinstance(value, str):
        raise block.error(f"{key} is a text in quotes, not {_kind(value)}", key)
    return value


def _choice(block: MachineBlock, key: str, choices: tuple[str, ...], default: str) -> str:
    value = _string(block, key, default)
    if value not in choices:
        what = f"{key} is one of {', '.join(choices)}, not {value!r}"
        raise block.error(what, key, _close(value, choices))
    return value


def _mode(block: MachineBlock) -> CpuMode:
    if not block.has("mode"):
        raise block.error("the machine has no mode", None, 'mode = "long"  # real, protected, long')
    return CpuMode(_choice(block, "mode", tuple(str(m) for m in CpuMode), ""))


def _integer(block: MachineBlock, key: str, default: int) -> int:
    value = block.table.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise block.error(f"{key} is a number, not {_kind(value)}", key, f"{key} = {default:#x}")
    if not 0 <= value < MAX_MEMORY:
        raise block.error(f"{key} is out of range: {value:#x}", key)
    return value


_UNITS = {"": 1, "K": 1 << 10, "KIB": 1 << 10, "M": 1 << 20, "MIB": 1 << 20, "G": 1 << 30,
          "GIB": 1 << 30}  # fmt: skip


def _memory(block: MachineBlock) -> int:
    value = block.table.get("memory", DEFAULT_MEMORY)
    if isinstance(value, str):
        text = value.strip().upper()
        digits = text.rstrip("KMGIB")
        unit = _UNITS.get(text[len(digits) :])
        if not (digits.isascii() and digits.isdigit()) or unit is None or len(digits) > 12:
            raise block.error(
                f"memory {value!r} is no size", "memory", 'sizes look like "2M", "64K"'
            )
        value = int(digits) * unit
    if not isinstance(value, int) or isinstance(value, bool):
        raise block.error(f"memory is a size, not {_kind(value)}", "memory", 'memory = "2M"')
    if value % PAGE:
        raise block.error(f"memory is not a multiple of {PAGE} bytes: {value}", "memory")
    if not MIN_MEMORY <= value <= MAX_MEMORY:
        raise block.error(f"memory is from 64K to 1G, not {value} bytes", "memory")
    return value


def _devices(block: MachineBlock) -> tuple[DeviceSpec, ...]:
    value = block.table.get("devices", [])
    if not isinstance(value, list):
        raise block.error(
            f"devices is a list, not {_kind(value)}", "devices", 'devices = ["serial"]'
        )
    found: list[DeviceSpec] = []
    for index, entry in enumerate(value):
        location = block.entry("devices", index, entry)
        if isinstance(entry, str):
            found.append(DeviceSpec(entry, {}, location))
            continue
        if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
            raise SourceError(
                f"a device is a name or a table with a type, not {_kind(entry)}", location,
                source_line=block.source_line(location.line),
                hint='{ type = "virtio-net", mac = "52:54:00:12:34:56" }',
            )  # fmt: skip
        options = {k: v for k, v in entry.items() if k != "type"}
        found.append(DeviceSpec(entry["type"], options, location))
    return tuple(found)


def _registers(block: MachineBlock) -> dict[str, int]:
    value = block.table.get("registers", {})
    if not isinstance(value, dict):
        raise block.error(
            f"registers is a table, not {_kind(value)}", "registers", "registers = { rax = 2 }"
        )
    for name, number in value.items():
        if name not in _SETTABLE:
            hint = _close(name.lower(), sorted(_SETTABLE))
            raise block.error(f"there is no register {name!r}", name, hint)
        width = 8 * SIZES.get(name, 8)
        if not isinstance(number, int) or isinstance(number, bool):
            raise block.error(f"{name} is a number, not {_kind(number)}", name)
        if not -(1 << (width - 1)) <= number < 1 << width:
            raise block.error(f"{name} has {width} bits; {number:#x} does not fit", name)
    return dict(value)


def _kind(value: object) -> str:
    names = {str: "a text", bool: "true or false", int: "a number", float: "a number with a point",
             list: "a list", dict: "a table"}  # fmt: skip
    return names.get(type(value), f"a {type(value).__name__}")
