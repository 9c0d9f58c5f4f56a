"""mmio-nic: a network card without DMA, in the manner of the programmed-I/O cards.

The full-virtualization side of the comparison. As on an NE2000 (DP8390), a 3c509 or a
LAN9118, the driver carries each frame into the card itself, store by store, and out of it load
by load. Nothing of it is a real card's map, everything is some real card's habit:

    1. Find it: ID and VERSION. Reset it, read MAC, set CONTROL.TX_ENABLE and RX_ENABLE.
    2. Store the frame into TX_BUFFER, 1 to 8 bytes at a time, and its length into TX_LENGTH.
    3. Write TX_COMMAND.SEND, the doorbell. The card sends the frame as it is: no padding to
       60 bytes, no FCS.
    4. Wait for TX_STATUS.DONE, or unmask TX_DONE and take the interrupt; write TX_DONE to
       INTERRUPT_ACK, or the line stays up.
    5. Wait for RX_STATUS.READY, or unmask RX_READY and take the interrupt; write RX_READY to
       INTERRUPT_ACK.
    6. Load RX_LENGTH, and as many bytes of RX_BUFFER, 1 to 8 at a time. Behind the frame it
       reads 0.
    7. Write RX_COMMAND.RELEASE. Now the next frame can come: to acknowledge after this may be
       to acknowledge that one.

The card sends before the store to the doorbell is finished (its host's file never makes it
wait), so a driver finds DONE at its first look; a good one looks all the same.

There is room for one frame. While it is taken, and while RX_ENABLE is 0, frames wait in the
host. The card takes those to its own address and to all stations; to other groups
(multicast), too, and to anybody, with CONTROL.PROMISC.

Registers are 32 bits wide and accessed as such, at their own offset. A driver's mistake
never stops the card: it is refused, STATUS.ACCESS_ERROR or an error code in TX_STATUS says
so, and the log of guest errors says what and why.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import TYPE_CHECKING, ClassVar

from toyvisor.errors import GuestError
from toyvisor.host.frames import DEFAULT_MAC
from toyvisor.host.syscalls import NetFile, writev
from toyvisor.qemu.device import DeviceContext
from toyvisor.qemu.devices.mmio_nic_registers import (
    BY_OFFSET,
    CONTROL,
    CONTROL_PROMISC,
    CONTROL_RESET,
    CONTROL_RX_ENABLE,
    CONTROL_TX_ENABLE,
    INTERRUPT_ACK,
    INTERRUPT_MASK,
    INTERRUPT_STATUS,
    IRQ_RX_READY,
    IRQ_TX_DONE,
    IRQ_TX_ERROR,
    KNOWN_BITS,
    MAC_HIGH,
    MAC_LOW,
    MAX_FRAME,
    MIN_FRAME,
    REGISTERS,
    RX_BUFFER,
    RX_BUFFER_SIZE,
    RX_COMMAND,
    RX_COMMAND_RELEASE,
    RX_COUNT,
    RX_DROPPED,
    RX_FILTERED,
    RX_LENGTH,
    RX_STATUS,
    RX_STATUS_BROADCAST,
    RX_STATUS_MULTICAST,
    RX_STATUS_READY,
    SCRATCH,
    STATUS,
    STATUS_ACCESS_ERROR,
    STATUS_RX_READY,
    STATUS_TX_READY,
    TX_BUFFER,
    TX_BUFFER_SIZE,
    TX_COMMAND,
    TX_COMMAND_SEND,
    TX_COUNT,
    TX_DISABLED,
    TX_ERRORS,
    TX_LENGTH,
    TX_REFUSED,
    TX_STATUS,
    TX_STATUS_CODE_SHIFT,
    TX_STATUS_DONE,
    TX_STATUS_ERROR,
    TX_TOO_LONG,
    TX_TOO_SHORT,
    why_refused,
)
from toyvisor.trace.events import DEVICE

if TYPE_CHECKING:
    from toyvisor.qemu.net_client import NetClient

_U32 = 0xFFFF_FFFF
_BROADCAST = b"\xff" * 6
# The buffers take an access as the guest made it: x86 widths, x86 byte order, any alignment.
_FORMS = {1: Struct("<B"), 2: Struct("<H"), 4: Struct("<I"), 8: Struct("<Q")}
_STORE = {size: form.pack_into for size, form in _FORMS.items()}
_LOAD = {size: form.unpack_from for size, form in _FORMS.items()}


class MmioNic:
    """One card in a 4 KiB window."""

    __slots__ = (
        "_backend",
        "_busy",
        "_context",
        "_frame",
        "_registers",
        "_rx",
        "_trace",
        "_tx",
        "client",
        "mac",
        "name",
    )

    def __init__(
        self,
        context: DeviceContext,
        backend: NetFile,
        mac: bytes = DEFAULT_MAC,
        *,
        client: NetClient | None = None,
    ) -> None:
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
        self._rx = bytearray(RX_BUFFER_SIZE)
        self._registers: dict[int, int] = {}
        self.client = client
        if client is not None:
            client.peer = self
        self.reset()

    def reset(self) -> None:
        """Power-on, or CONTROL.RESET."""
        self._tx[:] = bytes(TX_BUFFER_SIZE)
        self._registers.update({r.offset: r.reset for r in REGISTERS if r.width == 4})
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
        try:
            if offset >= TX_BUFFER:
                return int(_LOAD[size](self._tx, offset - TX_BUFFER)[0])
            if offset >= RX_BUFFER and self._registers[RX_LENGTH]:
                return int(_LOAD[size](self._rx, offset - RX_BUFFER)[0])
            if size == 4 and offset not in self._WRITE_ONLY:
                return self._registers[offset]
        except (KeyError, StructError):
            pass
        self._refuse_access("loads", offset, size)
        return 0

    def peek(self, offset: int) -> int | None:
        """What a register holds, for a debugger: no access, no effect. None: it can't be read."""
        return None if offset in self._WRITE_ONLY else self._registers.get(offset)

    @property
    def buffers(self) -> tuple[bytes, bytes]:
        """TX_BUFFER and RX_BUFFER, for a debugger as well."""
        return bytes(self._tx), bytes(self._rx)

    # Registers with a will of their own ----------------------------------------------

    def _write_control(self, value: int) -> None:
        value = self._known_bits(CONTROL, value)
        if value & CONTROL_RESET:
            self.reset()
            if self._trace.enabled:
                self._trace.emit(DEVICE, self.name, "reset")
            return
        self._registers[CONTROL] = value
        self._update_ready()
        if self.can_receive():
            self._flush_client()

    def _write_scratch(self, value: int) -> None:
        self._registers[SCRATCH] = value

    def _write_interrupt_ack(self, value: int) -> None:
        value = self._known_bits(INTERRUPT_ACK, value)
        self._registers[INTERRUPT_STATUS] &= ~value
        self._update_irq()

    def _write_interrupt_mask(self, value: int) -> None:
        value = self._known_bits(INTERRUPT_MASK, value)
        self._registers[INTERRUPT_MASK] = value
        self._update_irq()

    def _write_tx_length(self, value: int) -> None:
        self._registers[TX_LENGTH] = value

    def _write_tx_command(self, value: int) -> None:
        if self._known_bits(TX_COMMAND, value) & TX_COMMAND_SEND:
            self._send()

    def _write_rx_command(self, value: int) -> None:
        if self._known_bits(RX_COMMAND, value) & RX_COMMAND_RELEASE:
            self._release()

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

    # Receiving ---------------------------------------------------------------------------

    def can_receive(self) -> bool:
        """Whether a frame may come: the receiver is enabled, its buffer free (`NetPeer`)."""
        registers = self._registers
        return bool(registers[CONTROL] & CONTROL_RX_ENABLE) and not registers[RX_LENGTH]

    def receive(self, frame: memoryview) -> bool:
        """Take a frame into RX_BUFFER, or drop it. False: it has to wait."""
        if not self.can_receive():
            return False
        length = len(frame)
        if not MIN_FRAME <= length <= MAX_FRAME:
            return self._drop(RX_DROPPED, f"drop {length} bytes")
        station = bytes(frame[:6])
        if station not in (self.mac, _BROADCAST) and not self._registers[CONTROL] & CONTROL_PROMISC:
            return self._drop(RX_FILTERED, f"a frame to {station.hex(':')}, not to this card")
        ledger = self._context.ledger
        ledger.copy(ledger.qemu_to_qemu, self._rx, 0, frame)
        # What is left of a longer frame is not for the driver of another machine to see.
        self._rx[length:] = bytes(RX_BUFFER_SIZE - length)
        self._arrived(length, station)
        return True

    def _drop(self, counter: int, what: str) -> bool:
        """A frame is lost; True, as nobody need keep it."""
        self._count(counter)
        if self._trace.enabled:
            self._trace.emit(DEVICE, self.name, what)
        return True

    def _arrived(self, length: int, station: bytes) -> None:
        registers = self._registers
        registers[RX_LENGTH] = length
        registers[RX_STATUS] = RX_STATUS_READY
        if station[0] & 1:
            group = RX_STATUS_BROADCAST if station == _BROADCAST else RX_STATUS_MULTICAST
            registers[RX_STATUS] |= group
        registers[STATUS] |= STATUS_RX_READY
        registers[INTERRUPT_STATUS] |= IRQ_RX_READY
        self._count(RX_COUNT)
        if self._trace.enabled:
            self._trace.emit(DEVICE, self.name, f"receive {length} bytes")
        self._update_irq()

    def _release(self) -> None:
        """The driver has read the frame: the next one may come."""
        registers = self._registers
        if not registers[RX_LENGTH]:
            registers[STATUS] |= STATUS_ACCESS_ERROR
            what, effect = "RELEASE while no frame is there", "STATUS.ACCESS_ERROR is set"
            self._report("rx-release", what, effect)
            return
        registers[RX_LENGTH] = registers[RX_STATUS] = 0
        registers[STATUS] &= ~STATUS_RX_READY
        self._flush_client()

    def _flush_client(self) -> None:
        if self.client is not None:
            self.client.flush()

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
        rule, what = why_refused(verb, offset, size)
        self._registers[STATUS] |= STATUS_ACCESS_ERROR
        effect = "the store is ignored" if verb == "stores" else "the load gives 0"
        self._report(rule, f"the guest {what}", f"{effect}; STATUS.ACCESS_ERROR is set")

    def _known_bits(self, offset: int, value: int) -> int:
        known = KNOWN_BITS[offset]
        if value & ~known:
            self._registers[STATUS] |= STATUS_ACCESS_ERROR
            self._report(
                "reserved-bits",
                f"the guest stores {value:#x} to {BY_OFFSET[offset].name}, "
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
        RX_COMMAND: _write_rx_command,
    }
    _WRITE_ONLY: ClassVar[frozenset[int]] = frozenset(
        register.offset for register in REGISTERS if register.access == "W"
    )
