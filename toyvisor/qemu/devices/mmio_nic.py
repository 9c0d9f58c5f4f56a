"""mmio-nic: a network card without DMA, in the manner of the programmed-I/O cards.

The full-virtualization side of the comparison. As on an NE2000 (DP8390), a 3c509 or a
LAN9118, the driver carries each frame into the card itself, store by store; the card sends
it when told to. Nothing of it is a real card's map, everything is some real card's habit:

    1. Find it: ID and VERSION. Reset it, read MAC, set CONTROL.TX_ENABLE.
    2. Store the frame into TX_BUFFER, 1 to 8 bytes at a time, and its length into TX_LENGTH.
    3. Write TX_COMMAND.SEND, the doorbell. The card sends the frame as it is: no padding to
       60 bytes, no FCS.
    4. Wait for TX_STATUS.DONE, or unmask TX_DONE and take the interrupt; write TX_DONE to
       INTERRUPT_ACK, or the line stays up.

The card sends before the store to the doorbell is finished (its host's file never makes it
wait), so a driver finds DONE at its first look; a good one looks all the same.

Registers are 32 bits wide and accessed as such, at their own offset. A driver's mistake
never stops the card: it is refused, STATUS.ACCESS_ERROR or an error code in TX_STATUS says
so, and the log of guest errors says what and why. Offsets 0x080-0x0bf and 0x200-0x7ff are
kept for receiving.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import ClassVar

from toyvisor.errors import GuestError
from toyvisor.host.frames import DEFAULT_MAC, ETH_FRAME_LEN, ETH_HLEN
from toyvisor.host.syscalls import NetFile, writev
from toyvisor.qemu.device import DeviceContext
from toyvisor.qemu.devices.registers import Bits, Register
from toyvisor.trace.events import DEVICE

WINDOW_SIZE = 0x1000
MAGIC = int.from_bytes(b"MNIC", "little")
MIN_FRAME = ETH_HLEN
MAX_FRAME = ETH_FRAME_LEN

ID, VERSION, CONTROL, STATUS = 0x000, 0x004, 0x008, 0x00C
MAC_LOW, MAC_HIGH, SCRATCH = 0x010, 0x014, 0x018
INTERRUPT_STATUS, INTERRUPT_ACK, INTERRUPT_MASK = 0x020, 0x024, 0x028
TX_LENGTH, TX_COMMAND, TX_STATUS, TX_COUNT, TX_ERRORS = 0x040, 0x044, 0x048, 0x04C, 0x050
TX_BUFFER = 0x800
TX_BUFFER_SIZE = WINDOW_SIZE - TX_BUFFER

CONTROL_RESET, CONTROL_TX_ENABLE = 1 << 0, 1 << 1
STATUS_TX_READY, STATUS_LINK_UP, STATUS_ACCESS_ERROR = 1 << 0, 1 << 1, 1 << 2
IRQ_TX_DONE, IRQ_TX_ERROR = 1 << 0, 1 << 1
TX_COMMAND_SEND = 1 << 0
TX_STATUS_DONE, TX_STATUS_ERROR = 1 << 0, 1 << 1
TX_STATUS_CODE_SHIFT = 8

#: error codes in TX_STATUS
TX_TOO_SHORT, TX_TOO_LONG, TX_DISABLED, TX_BUSY, TX_REFUSED = 1, 2, 3, 4, 5

_INTERRUPTS = (
    Bits("TX_DONE", 0, "a frame was sent"),
    Bits("TX_ERROR", 1, "a SEND was refused; TX_STATUS says why"),
)

#: The card as its data sheet would have it.
REGISTERS: tuple[Register, ...] = (
    Register(ID, "ID", "R", 4, 'the bytes "MNIC"', reset=MAGIC),
    Register(VERSION, "VERSION", "R", 4, "of this map", reset=1),
    Register(
        CONTROL,
        "CONTROL",
        "RW",
        4,
        "what the card may do",
        (
            Bits("RESET", 0, "write 1: as after power-on, buffer cleared; reads 0"),
            Bits("TX_ENABLE", 1, "the transmitter takes SEND"),
        ),
    ),
    Register(
        STATUS,
        "STATUS",
        "R",
        4,
        "how the card is",
        (
            Bits("TX_READY", 0, "the transmitter is enabled and free"),
            Bits("LINK_UP", 1, "the cable is in; always 1"),
            Bits("ACCESS_ERROR", 2, "an access was refused since the last reset"),
        ),
        reset=STATUS_LINK_UP,
    ),
    Register(MAC_LOW, "MAC_LOW", "R", 4, "address bytes 0 to 3, byte 0 lowest"),
    Register(MAC_HIGH, "MAC_HIGH", "R", 4, "address bytes 4 and 5"),
    Register(SCRATCH, "SCRATCH", "RW", 4, "holds what was written; for trying out"),
    Register(INTERRUPT_STATUS, "INTERRUPT_STATUS", "R", 4, "what has happened", _INTERRUPTS),
    Register(INTERRUPT_ACK, "INTERRUPT_ACK", "W", 4, "1 clears the bit's cause", _INTERRUPTS),
    Register(
        INTERRUPT_MASK, "INTERRUPT_MASK", "RW", 4, "1 lets the bit drive the line", _INTERRUPTS
    ),
    Register(TX_LENGTH, "TX_LENGTH", "RW", 4, "bytes to send: 14 to 1514"),
    Register(
        TX_COMMAND,
        "TX_COMMAND",
        "W",
        4,
        "the doorbell",
        (Bits("SEND", 0, "send the first TX_LENGTH bytes of TX_BUFFER"),),
    ),
    Register(
        TX_STATUS,
        "TX_STATUS",
        "R",
        4,
        "what came of the last SEND",
        (
            Bits("DONE", 0, "it is over, well or not"),
            Bits("ERROR", 1, "it was refused"),
            Bits(
                "CODE",
                TX_STATUS_CODE_SHIFT,
                "0 none, 1 shorter than 14, 2 longer than 1514, 3 not enabled, "
                "4 still busy, 5 refused by the host",
                width=8,
            ),
        ),
    ),
    Register(TX_COUNT, "TX_COUNT", "R", 4, "frames sent since the last reset"),
    Register(TX_ERRORS, "TX_ERRORS", "R", 4, "SENDs refused since the last reset"),
    Register(TX_BUFFER, "TX_BUFFER", "RW", TX_BUFFER_SIZE, "the frame, from its first byte"),
)

_BY_OFFSET = {register.offset: register for register in REGISTERS}
_U32 = 0xFFFF_FFFF
# The buffer takes a store as the guest made it: x86 widths, x86 byte order, any alignment.
_STORE = {
    1: Struct("<B").pack_into,
    2: Struct("<H").pack_into,
    4: Struct("<I").pack_into,
    8: Struct("<Q").pack_into,
}


def register_name(offset: int) -> str:
    """What a trace calls an offset: "TX_COMMAND", "TX_BUFFER+0x10"."""
    if offset >= TX_BUFFER:
        return f"TX_BUFFER+{offset - TX_BUFFER:#x}"
    register = _BY_OFFSET.get(offset)
    return register.name if register is not None else f"{offset:#x}"


class MmioNic:
    """One card in a 4 KiB window."""

    __slots__ = (
        "_backend",
        "_busy",
        "_context",
        "_frame",
        "_registers",
        "_trace",
        "_tx",
        "mac",
        "name",
    )

    def __init__(self, context: DeviceContext, backend: NetFile, mac: bytes = DEFAULT_MAC) -> None:
        if len(mac) != 6:
            raise ValueError(f"a MAC address has 6 bytes, not {len(mac)}")
        self.name = context.irq.device
        self.mac = bytes(mac)
        self._context = context
        self._trace = context.trace
        self._backend = backend
        self._busy = False
        self._tx = bytearray(TX_BUFFER_SIZE)
        self._frame = memoryview(self._tx)
        self._registers: dict[int, int] = {}
        self.reset()

    def reset(self) -> None:
        """Power-on, or CONTROL.RESET."""
        self._tx[:] = bytes(TX_BUFFER_SIZE)
        self._registers.update({r.offset: r.reset for r in REGISTERS if r.offset < TX_BUFFER})
        self._registers[MAC_LOW] = int.from_bytes(self.mac[:4], "little")
        self._registers[MAC_HIGH] = int.from_bytes(self.mac[4:], "little")
        self._update_irq()

    # The guest's accesses ------------------------------------------------------------

    def write(self, offset: int, size: int, value: int) -> None:
        """A store: into the buffer (the hot path: no look-up but the width's), or a register."""
        if offset >= TX_BUFFER:
            try:
                _STORE[size](self._tx, offset - TX_BUFFER, value)
            except (KeyError, StructError):
                self._refuse_access("stores", offset, size)
            return
        writer = self._WRITERS.get(offset)
        if writer is None or size != 4:
            self._refuse_access("stores", offset, size)
        else:
            writer(self, value & _U32)

    def read(self, offset: int, size: int) -> int:
        """A load; what cannot be read reads as 0."""
        if offset >= TX_BUFFER:
            start = offset - TX_BUFFER
            if size in _STORE and start + size <= TX_BUFFER_SIZE:
                return int.from_bytes(self._tx[start : start + size], "little")
        elif size == 4 and offset in self._registers and offset not in self._WRITE_ONLY:
            return self._registers[offset]
        self._refuse_access("loads", offset, size)
        return 0

    # Registers with a will of their own ----------------------------------------------

    def _write_control(self, value: int) -> None:
        value = self._known_bits(CONTROL, value, CONTROL_RESET | CONTROL_TX_ENABLE)
        if value & CONTROL_RESET:
            self.reset()
            if self._trace.enabled:
                self._trace.emit(DEVICE, self.name, "reset")
            return
        self._registers[CONTROL] = value
        self._update_ready()

    def _write_scratch(self, value: int) -> None:
        self._registers[SCRATCH] = value

    def _write_interrupt_ack(self, value: int) -> None:
        value = self._known_bits(INTERRUPT_ACK, value, IRQ_TX_DONE | IRQ_TX_ERROR)
        self._registers[INTERRUPT_STATUS] &= ~value
        self._update_irq()

    def _write_interrupt_mask(self, value: int) -> None:
        value = self._known_bits(INTERRUPT_MASK, value, IRQ_TX_DONE | IRQ_TX_ERROR)
        self._registers[INTERRUPT_MASK] = value
        self._update_irq()

    def _write_tx_length(self, value: int) -> None:
        self._registers[TX_LENGTH] = value

    def _write_tx_command(self, value: int) -> None:
        if self._known_bits(TX_COMMAND, value, TX_COMMAND_SEND) & TX_COMMAND_SEND:
            self._send()

    # Sending ---------------------------------------------------------------------------

    def _send(self) -> None:
        """The doorbell rang: one writev() of the frame to the host, or an error code."""
        length = self._registers[TX_LENGTH]
        if self._busy:
            # The frame under way is the driver's business still: only the count shows this one.
            self._count(TX_ERRORS)
            self._report("tx-busy", "SEND while a frame is being sent", "wait for TX_STATUS.DONE")
        elif not self._registers[CONTROL] & CONTROL_TX_ENABLE:
            self._refuse_send(TX_DISABLED, "tx-disabled", "SEND while CONTROL.TX_ENABLE is 0")
        elif length < MIN_FRAME:
            what = f"SEND of {length} bytes; an Ethernet header alone has {MIN_FRAME}"
            self._refuse_send(TX_TOO_SHORT, "tx-length", what)
        elif length > MAX_FRAME:
            what = f"SEND of {length} bytes; the longest Ethernet frame has {MAX_FRAME}"
            self._refuse_send(TX_TOO_LONG, "tx-length", what)
        else:
            self._transmit(length)

    def _transmit(self, length: int) -> None:
        if self._trace.enabled:
            self._trace.emit(DEVICE, self.name, f"send {length} bytes")
        self._registers[TX_STATUS] = 0
        self._set_busy(True)
        try:
            written = writev(self._context.ledger, self._backend, (self._frame[:length],))
        finally:
            self._set_busy(False)
        if written < 0:
            what = f"the host refused a frame of {length} bytes: errno {-written}"
            self._refuse_send(TX_REFUSED, "tx-refused", what)
            return
        self._count(TX_COUNT)
        self._registers[TX_STATUS] = TX_STATUS_DONE
        self._registers[INTERRUPT_STATUS] |= IRQ_TX_DONE
        self._update_irq()

    def _count(self, counter: int) -> None:
        self._registers[counter] = self._registers[counter] + 1 & _U32

    def _set_busy(self, busy: bool) -> None:
        self._busy = busy
        self._update_ready()

    def _update_ready(self) -> None:
        ready = self._registers[CONTROL] & CONTROL_TX_ENABLE and not self._busy
        status = self._registers[STATUS] & ~STATUS_TX_READY
        self._registers[STATUS] = status | STATUS_TX_READY if ready else status

    def _update_irq(self) -> None:
        registers = self._registers
        pending = registers[INTERRUPT_STATUS] & registers[INTERRUPT_MASK]
        self._context.irq.set(1 if pending else 0)

    # The guest's mistakes ----------------------------------------------------------------

    def _refuse_send(self, code: int, rule: str, what: str) -> None:
        registers = self._registers
        self._count(TX_ERRORS)
        registers[TX_STATUS] = TX_STATUS_DONE | TX_STATUS_ERROR | code << TX_STATUS_CODE_SHIFT
        registers[INTERRUPT_STATUS] |= IRQ_TX_ERROR
        self._update_irq()
        self._report(rule, what, f"nothing is sent; TX_STATUS has error code {code}")

    def _refuse_access(self, verb: str, offset: int, size: int) -> None:
        """Say what is wrong with a load or store that no register takes."""
        register = _BY_OFFSET.get(offset)
        if offset >= TX_BUFFER:
            rule = "buffer-range"
            what = f"{verb} {size} bytes at {offset:#x}, past the end of TX_BUFFER"
        elif register is None:
            rule = "no-register"
            what = f"{verb} {size} bytes at {offset:#x}, where no register is"
        elif size != 4:
            rule = "access-width"
            what = f"{verb} {size} bytes at {register.name} ({offset:#x}), which has 4"
        elif verb == "stores":
            rule, what = "read-only", f"stores to {register.name} ({offset:#x}), which is read-only"
        else:
            rule, what = "write-only", f"loads {register.name} ({offset:#x}), which is write-only"
        self._registers[STATUS] |= STATUS_ACCESS_ERROR
        effect = "the store is ignored" if verb == "stores" else "the load gives 0"
        self._report(rule, f"the guest {what}", f"{effect}; STATUS.ACCESS_ERROR is set")

    def _known_bits(self, offset: int, value: int, known: int) -> int:
        if value & ~known:
            self._registers[STATUS] |= STATUS_ACCESS_ERROR
            self._report(
                "reserved-bits",
                f"the guest stores {value:#x} to {_BY_OFFSET[offset].name}, "
                f"which has the bits {known:#x} only",
                "the other bits are ignored; STATUS.ACCESS_ERROR is set",
            )
        return value & known

    def _report(self, rule: str, what: str, effect: str) -> None:
        self._context.errors.report(
            self.name, GuestError(what, rule=f"mmio-nic.{rule}", hint=effect)
        )

    _WRITERS: ClassVar[dict[int, Callable[[MmioNic, int], None]]] = {
        CONTROL: _write_control,
        SCRATCH: _write_scratch,
        INTERRUPT_ACK: _write_interrupt_ack,
        INTERRUPT_MASK: _write_interrupt_mask,
        TX_LENGTH: _write_tx_length,
        TX_COMMAND: _write_tx_command,
    }
    _WRITE_ONLY: ClassVar[frozenset[int]] = frozenset(
        register.offset for register in REGISTERS if register.access == "W"
    )
