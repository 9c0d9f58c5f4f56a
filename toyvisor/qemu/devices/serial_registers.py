"""The 16550A's registers: National Semiconductor PC16550D data sheet (1995), table II."""

from __future__ import annotations

from toyvisor.qemu.devices.registers import Bits, Register

# The registers, by port offset (data sheet, table II).
RBR_THR_DLL, IER_DLM, IIR_FCR, LCR, MCR, LSR, MSR, SCR = range(8)

FIFO_LENGTH = 16

IER_RDI, IER_THRI, IER_RLSI, IER_MSI = 0x01, 0x02, 0x04, 0x08
IIR_NO_INT, IIR_ID_MASK = 0x01, 0x0F
IIR_MSI, IIR_THRI, IIR_RDI, IIR_RLSI, IIR_CTI = 0x00, 0x02, 0x04, 0x06, 0x0C
IIR_FIFO_ENABLED = 0xC0
FCR_ENABLE, FCR_CLEAR_RECEIVE, FCR_CLEAR_TRANSMIT = 0x01, 0x02, 0x04
FCR_STICKY = 0xC9  # enable, DMA mode and trigger; the clear bits do and are gone
LCR_DLAB = 0x80
MCR_DTR, MCR_RTS, MCR_OUT1, MCR_OUT2, MCR_LOOP = 0x01, 0x02, 0x04, 0x08, 0x10
LSR_DR, LSR_OE, LSR_PE, LSR_FE, LSR_BI, LSR_THRE, LSR_TEMT = 1, 2, 4, 8, 16, 32, 64
LSR_ANY_ERROR = LSR_OE | LSR_PE | LSR_FE | LSR_BI
MSR_CTS, MSR_DSR, MSR_RI, MSR_DCD = 0x10, 0x20, 0x40, 0x80

TRIGGER_LEVELS = {0x00: 1, 0x40: 4, 0x80: 8, 0xC0: 14}

#: The port as its data sheet has it; offsets 0 to 2 mean several things.
REGISTERS: tuple[Register, ...] = (
    Register(0, "RBR", "R", 1, "the oldest byte received (DLAB 0)"),
    Register(0, "THR", "W", 1, "a byte to send (DLAB 0)"),
    Register(0, "DLL", "RW", 1, "divisor of the baud rate, low byte (DLAB 1)", reset=0x0C),
    Register(1, "DLM", "RW", 1, "divisor of the baud rate, high byte (DLAB 1)"),
    Register(
        1,
        "IER",
        "RW",
        1,
        "which interrupts are wanted (DLAB 0)",
        (
            Bits("RDI", 0, "received data, and character timeout"),
            Bits("THRI", 1, "transmitter empty"),
            Bits("RLSI", 2, "line status: overrun, parity, framing, break"),
            Bits("MSI", 3, "modem status"),
        ),
    ),
    Register(
        2,
        "IIR",
        "R",
        1,
        "which interrupt is pending",
        (
            Bits("NO_INT", 0, "1: none"),
            Bits("ID", 1, "3 line status, 2 data, 6 timeout, 1 transmitter, 0 modem", width=3),
            Bits("FIFO", 6, "3: FIFOs are on", width=2),
        ),
        reset=IIR_NO_INT,
    ),
    Register(
        2,
        "FCR",
        "W",
        1,
        "the FIFOs",
        (
            Bits("ENABLE", 0, "FIFOs on; a change clears both"),
            Bits("CLEAR_RECEIVE", 1, "empty the receive FIFO"),
            Bits("CLEAR_TRANSMIT", 2, "empty the transmit FIFO"),
            Bits("DMA_MODE", 3, "without meaning here"),
            Bits("TRIGGER", 6, "interrupt at 1, 4, 8 or 14 bytes", width=2),
        ),
    ),
    Register(
        3,
        "LCR",
        "RW",
        1,
        "the form of a character, kept and not used",
        (
            Bits("WORD_LENGTH", 0, "5 to 8 bits", width=2),
            Bits("STOP_BITS", 2, "1 or 2"),
            Bits("PARITY", 3, "enable, even, stick", width=3),
            Bits("BREAK", 6, "hold the line low"),
            Bits("DLAB", 7, "offsets 0 and 1 are the divisor"),
        ),
    ),
    Register(
        4,
        "MCR",
        "RW",
        1,
        "the modem's lines out",
        (
            Bits("DTR", 0, "data terminal ready"),
            Bits("RTS", 1, "request to send"),
            Bits("OUT1", 2, "spare"),
            Bits("OUT2", 3, "spare; on a PC it gates the interrupt"),
            Bits("LOOP", 4, "loopback: the port hears itself"),
        ),
        reset=MCR_OUT2,
    ),
    Register(
        5,
        "LSR",
        "R",
        1,
        "the line",
        (
            Bits("DR", 0, "a byte has been received"),
            Bits("OE", 1, "overrun: a byte was lost; a read clears it"),
            Bits("PE", 2, "parity error; never"),
            Bits("FE", 3, "framing error; never"),
            Bits("BI", 4, "break; a read clears it"),
            Bits("THRE", 5, "room for a byte to send; always, once a write is done"),
            Bits("TEMT", 6, "all sent; always, once a write is done"),
        ),
        reset=LSR_THRE | LSR_TEMT,
    ),
    Register(
        6,
        "MSR",
        "R",
        1,
        "the modem's lines in; in loopback, the lines out",
        (
            Bits("DELTA", 0, "lines that changed; never", width=4),
            Bits("CTS", 4, "clear to send"),
            Bits("DSR", 5, "data set ready"),
            Bits("RI", 6, "ring"),
            Bits("DCD", 7, "carrier"),
        ),
        reset=MSR_DCD | MSR_DSR | MSR_CTS,
    ),
    Register(7, "SCR", "RW", 1, "scratch"),
)
