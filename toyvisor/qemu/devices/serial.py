"""The PC's serial port: a 16550A UART (QEMU: hw/char/serial.c).

National Semiconductor PC16550D data sheet (1995); where QEMU does something else, so does
this: the modem lines are always ready, their inputs make no interrupt in loopback, OUT2 does
not gate the interrupt.

There is no baud rate: a byte written is on the wire at once, so the transmitter is always
empty, and a silent line is silent at once, so the character timeout needs no timer. (One
thing looks different from QEMU by that: a FIFO at its trigger level always says "data", where
QEMU says "timeout" once nobody has read it for four characters' time.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import ClassVar

from toyvisor.host.syscalls import CharFile, write
from toyvisor.qemu.device import DeviceContext
from toyvisor.qemu.devices.serial_registers import (
    FCR_CLEAR_RECEIVE,
    FCR_CLEAR_TRANSMIT,
    FCR_ENABLE,
    FCR_STICKY,
    FIFO_LENGTH,
    IER_RDI,
    IER_RLSI,
    IER_THRI,
    IIR_CTI,
    IIR_FIFO_ENABLED,
    IIR_ID_MASK,
    IIR_NO_INT,
    IIR_RDI,
    IIR_RLSI,
    IIR_THRI,
    LCR_DLAB,
    LSR_ANY_ERROR,
    LSR_BI,
    LSR_DR,
    LSR_OE,
    LSR_TEMT,
    LSR_THRE,
    MCR_DTR,
    MCR_LOOP,
    MCR_OUT1,
    MCR_OUT2,
    MCR_RTS,
    MSR_CTS,
    MSR_DCD,
    MSR_DSR,
    MSR_RI,
    TRIGGER_LEVELS,
)


class Serial16550:
    """One serial port; `console` is what its cable goes to."""

    __slots__ = (
        "_byte",
        "_console",
        "_divisor",
        "_fcr",
        "_fifo",
        "_ier",
        "_iir",
        "_irq",
        "_lcr",
        "_ledger",
        "_lsr",
        "_mcr",
        "_msr",
        "_rbr",
        "_scr",
        "_thr_pending",
        "_trigger",
        "accept_input",
        "name",
    )

    def __init__(self, context: DeviceContext, console: CharFile) -> None:
        self.name = context.irq.device
        self._irq = context.irq
        self._ledger = context.ledger
        self._console = console
        self._byte = bytearray(1)  # the transmitter's shift register
        #: told when the port has room for input again (QEMU: qemu_chr_fe_accept_input)
        self.accept_input: Callable[[], None] | None = None
        self.reset()

    def reset(self) -> None:
        """As after power-on (QEMU: serial_reset)."""
        self._rbr = self._ier = self._fcr = self._lcr = self._scr = 0
        self._iir = IIR_NO_INT
        self._mcr = MCR_OUT2
        self._lsr = LSR_TEMT | LSR_THRE
        self._msr = MSR_DCD | MSR_DSR | MSR_CTS
        self._divisor = 0x0C  # 9600 baud
        self._fifo: deque[int] = deque()
        self._trigger = 1
        self._thr_pending = False
        self._irq.set(0)
        self._tell_of_room()

    # The guest's accesses ------------------------------------------------------------

    def write(self, offset: int, size: int, value: int) -> None:
        """A store. A wider one is one byte after the other, low byte and low port first."""
        if size == 1:  # what drivers do; the rest is for completeness
            self._WRITERS[offset & 7](self, value)
            return
        for port in range(offset, min(offset + size, 8)):
            self._WRITERS[port](self, value & 0xFF)
            value >>= 8

    def read(self, offset: int, size: int) -> int:
        """A load, byte by byte as well; past the last port there is only the idle bus."""
        if size == 1:
            return self._READERS[offset & 7](self)
        value = 0
        for index in range(size):
            port = offset + index
            byte = self._READERS[port](self) if port < 8 else 0xFF
            value |= byte << 8 * index
        return value

    def _write_thr(self, value: int) -> None:
        if self._lcr & LCR_DLAB:
            self._divisor = self._divisor & 0xFF00 | value
            return
        # The interrupt falls and rises again with every byte, which an edge-triggered
        # interrupt controller needs to see.
        self._thr_pending = False
        self._update_irq()
        if self._mcr & MCR_LOOP:
            self._receive_byte(value)
        else:
            self._byte[0] = value
            write(self._ledger, self._console, self._byte)
        self._thr_pending = True
        self._update_irq()

    def _read_rbr(self) -> int:
        if self._lcr & LCR_DLAB:
            return self._divisor & 0xFF
        if self._fcr & FCR_ENABLE:
            value = self._fifo.popleft() if self._fifo else 0
            if not self._fifo:
                self._lsr &= ~(LSR_DR | LSR_BI)
        else:
            value = self._rbr
            self._lsr &= ~(LSR_DR | LSR_BI)
        self._tell_of_room()
        self._update_irq()
        return value

    def _write_ier(self, value: int) -> None:
        if self._lcr & LCR_DLAB:
            self._divisor = self._divisor & 0x00FF | value << 8
            return
        changed = (self._ier ^ value) & 0x0F
        self._ier = value & 0x0F
        if changed & IER_THRI:
            # Not in the data sheet, but drivers count on it (and QEMU does it): wanting the
            # interrupt while the transmitter is empty brings it.
            self._thr_pending = bool(self._ier & IER_THRI and self._lsr & LSR_THRE)
        if changed:
            self._update_irq()

    def _read_ier(self) -> int:
        return self._divisor >> 8 if self._lcr & LCR_DLAB else self._ier

    def _write_fcr(self, value: int) -> None:
        if (value ^ self._fcr) & FCR_ENABLE:
            value |= FCR_CLEAR_RECEIVE | FCR_CLEAR_TRANSMIT
        if value & FCR_CLEAR_RECEIVE:
            self._lsr &= ~(LSR_DR | LSR_BI)
            self._fifo.clear()
        if value & FCR_CLEAR_TRANSMIT:  # never holds a byte, but says that it is empty
            self._lsr |= LSR_THRE
            self._thr_pending = True
        self._fcr = value & FCR_STICKY
        if value & FCR_ENABLE:
            self._iir |= IIR_FIFO_ENABLED
            self._trigger = TRIGGER_LEVELS[value & 0xC0]
        else:
            self._iir &= ~IIR_FIFO_ENABLED
        self._tell_of_room()
        self._update_irq()

    def _read_iir(self) -> int:
        value = self._iir
        # Reading it is the answer to this one interrupt; the others want their cause gone.
        if value & IIR_ID_MASK == IIR_THRI:
            self._thr_pending = False
            self._update_irq()
        return value

    def _write_lcr(self, value: int) -> None:
        self._lcr = value

    def _read_lcr(self) -> int:
        return self._lcr

    def _write_mcr(self, value: int) -> None:
        self._mcr = value & 0x1F
        self._tell_of_room()
        self._update_irq()

    def _read_mcr(self) -> int:
        return self._mcr

    def _read_lsr(self) -> int:
        value = self._lsr
        if value & (LSR_BI | LSR_OE):
            self._lsr &= ~(LSR_BI | LSR_OE)
            self._update_irq()
        return value

    def _read_msr(self) -> int:
        if not self._mcr & MCR_LOOP:
            return self._msr
        mcr = self._mcr
        return (
            (MSR_CTS if mcr & MCR_RTS else 0)
            | (MSR_DSR if mcr & MCR_DTR else 0)
            | (MSR_RI if mcr & MCR_OUT1 else 0)
            | (MSR_DCD if mcr & MCR_OUT2 else 0)
        )

    def _write_scr(self, value: int) -> None:
        self._scr = value

    def _read_scr(self) -> int:
        return self._scr

    def _write_nothing(self, value: int) -> None:
        """LSR and MSR: the data sheet keeps writes for factory tests."""

    def peek(self) -> dict[str, int]:
        """All registers by name, for a debugger: without what a read does to them."""
        waiting = self.waiting
        return {
            "RBR": waiting[0] if waiting else 0, "DLL": self._divisor & 0xFF,
            "DLM": self._divisor >> 8, "IER": self._ier, "IIR": self._iir, "FCR": self._fcr,
            "LCR": self._lcr, "MCR": self._mcr, "LSR": self._lsr, "MSR": self._read_msr(),
            "SCR": self._scr,
        }  # fmt: skip

    @property
    def waiting(self) -> bytes:
        """What has been received, and not been read."""
        if self._fcr & FCR_ENABLE:
            return bytes(self._fifo)
        return bytes([self._rbr]) if self._lsr & LSR_DR else b""

    # The line --------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Bytes come in over the line, ready or not: what finds no room is lost (overrun)."""
        if self._mcr & MCR_LOOP:
            return  # the input is cut off
        for byte in data:
            self._receive_byte(byte)
        self._update_irq()

    def receive_break(self) -> None:
        """The line is held low for longer than a character (QEMU: serial_receive_break)."""
        if self._mcr & MCR_LOOP:
            return
        self._receive_byte(0)
        self._lsr |= LSR_BI
        self._update_irq()

    def can_receive(self) -> int:
        """How many bytes of the host's input the port would take now (serial_can_receive).

        Up to the trigger level only, so that the level the guest chose has a meaning.
        """
        if self._mcr & MCR_LOOP:
            return 0
        if self._fcr & FCR_ENABLE:
            return max(0, self._trigger - len(self._fifo))
        return 0 if self._lsr & LSR_DR else 1

    def _tell_of_room(self) -> None:
        if self.accept_input is not None and self.can_receive():
            self.accept_input()

    def _receive_byte(self, byte: int) -> None:
        if not self._fcr & FCR_ENABLE:
            if self._lsr & LSR_DR:
                self._lsr |= LSR_OE
            self._rbr = byte
        elif len(self._fifo) < FIFO_LENGTH:
            self._fifo.append(byte)
        else:
            self._lsr |= LSR_OE  # the FIFO keeps what it has
        self._lsr |= LSR_DR

    def _update_irq(self) -> None:
        """The highest pending cause becomes IIR and the line (data sheet, table III)."""
        ier = self._ier
        cause = IIR_NO_INT
        if ier & IER_RLSI and self._lsr & LSR_ANY_ERROR:
            cause = IIR_RLSI
        elif ier & IER_RDI and self._lsr & LSR_DR:
            # Bytes below the trigger level are a timeout: the line is silent already.
            below = self._fcr & FCR_ENABLE and len(self._fifo) < self._trigger
            cause = IIR_CTI if below else IIR_RDI
        elif ier & IER_THRI and self._thr_pending:
            cause = IIR_THRI
        self._iir = self._iir & 0xF0 | cause
        self._irq.set(0 if cause == IIR_NO_INT else 1)

    _WRITERS: ClassVar[tuple[Callable[[Serial16550, int], None], ...]] = (
        _write_thr,
        _write_ier,
        _write_fcr,
        _write_lcr,
        _write_mcr,
        _write_nothing,
        _write_nothing,
        _write_scr,
    )
    _READERS: ClassVar[tuple[Callable[[Serial16550], int], ...]] = (
        _read_rbr,
        _read_ier,
        _read_iir,
        _read_lcr,
        _read_mcr,
        _read_lsr,
        _read_msr,
        _read_scr,
    )
