"""IN, OUT, INS and OUTS: each is an exit."""

from __future__ import annotations

from ctypes import c_int, c_void_p

from toyvisor.cpu.exit_door import ExitDoor
from toyvisor.cpu.string_input import StringInput
from toyvisor.cpu.unicorn_abi import UC_HOOK_INSN, InHook, Instruction, OutHook, add_hook
from toyvisor.exit_reasons import ExitReason

_IO_INSTRUCTION = int(ExitReason.IO_INSTRUCTION)


class PortExits:
    """Makes every port access an exit."""

    def __init__(self, engine: c_void_p, door: ExitDoor, ins: StringInput) -> None:
        self._door = door
        self._ins = ins
        self._ahead: list[int] = []  # elements that REP INS was given ahead of their turn
        self._keep = OutHook(self._out), InHook(self._in)
        add_hook(engine, UC_HOOK_INSN, self._keep[0], 1, 0, c_int(Instruction.OUT))
        add_hook(engine, UC_HOOK_INSN, self._keep[1], 1, 0, c_int(Instruction.IN))

    def _out(self, _engine: int, port: int, size: int, value: int) -> None:
        door = self._door
        try:
            door.access = port
            door.note(_IO_INSTRUCTION)
            if not door.kernel.pio_write(port, size, value):
                door.to_host((_IO_INSTRUCTION, port, size, True, value, 1))
        except BaseException as failure:
            door.fail(failure)

    def _in(self, _engine: int, port: int, size: int) -> int:
        try:
            self._ins.note_port_read()
            return self._ahead.pop(0) if self._ahead else self._exit(port, size)
        except BaseException as failure:
            self._door.fail(failure)
            return 0

    def _exit(self, port: int, size: int) -> int:
        door = self._door
        door.access = port
        door.note(_IO_INSTRUCTION)
        answer = door.kernel.pio_read(port, size)
        if answer is not None:
            return answer
        count = self._ins.read_ahead(size)
        data = door.to_host((_IO_INSTRUCTION, port, size, False, 0, count))
        if count == 1:
            return data
        mask = (1 << 8 * size) - 1
        self._ahead = [data >> 8 * size * i & mask for i in range(1, count)]
        return data & mask
