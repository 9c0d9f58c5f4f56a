"""Options of the command line that change the program's machine: --device and --input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toyvisor.errors import InputError, UsageError
from toyvisor.guest.program import Program

if TYPE_CHECKING:
    from toyvisor.host.syscalls import CharInput

_SWITCHES = {"on": True, "off": False, "true": True, "false": False}


def device_options(given: Sequence[str], program: Program) -> dict[str, dict[str, Any]]:
    """The values of `--device TYPE,OPTION=VALUE,...`, by the device's type.

    As QEMU's -device has it, for devices that the program's machine block names. Raises
    UsageError for a device that it has not, and for an option that the device has not.
    """
    found: dict[str, dict[str, Any]] = {}
    if not given:
        return found
    from toyvisor.qemu.catalog import DEVICE_TYPES

    there = [device.type for device in program.spec.devices]
    for text in given:
        name, *settings = text.split(",")
        if name not in there:
            raise UsageError(
                f"--device {text}: {program.name} has no {name}",
                hint=f"its devices: {', '.join(there) or 'none'}",
            )
        known = DEVICE_TYPES[name].options if name in DEVICE_TYPES else ()
        for setting in settings:
            option, _, value = setting.partition("=")
            if option not in known:
                raise UsageError(
                    f"--device {text}: {name} has no option {option!r}",
                    hint=f"its options: {', '.join(known) or 'none'}",
                )
            if not value:
                raise UsageError(
                    f"--device {text}: {option} needs a value", hint=f"{option}=on, or =off"
                )
            found.setdefault(name, {})[option] = _SWITCHES.get(value, value)
    return found


def whole_input(name: str | None, program: Program) -> bytes | None:
    """All that comes in on the serial line, for a run that is to be walked back through."""
    if name is None:
        return None
    _check_serial(program)
    if name == "-":
        raise UsageError("--input -: a run that can be stepped back needs a file")
    return _read(name)


def open_input(name: str | None, program: Program) -> CharInput | None:
    """What comes in on the serial line: a file's bytes, or standard input as it comes."""
    if name is None:
        return None
    _check_serial(program)
    from toyvisor.host.console_input import InputBytes, InputFile

    return InputFile(0) if name == "-" else InputBytes(_read(name), name)


def _check_serial(program: Program) -> None:
    if all(device.type != "serial" for device in program.spec.devices):
        raise UsageError(f"--input: {program.name} has no serial port")


def _read(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"can't read {name}: {reason}") from None
