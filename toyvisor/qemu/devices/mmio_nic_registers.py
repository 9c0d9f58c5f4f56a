"""mmio-nic's registers: the card as its data sheet would have it."""

from __future__ import annotations

from toyvisor.host.frames import ETH_FRAME_LEN, ETH_HLEN
from toyvisor.qemu.devices.registers import Bits, Register

WINDOW_SIZE = 0x1000
MAGIC = int.from_bytes(b"MNIC", "little")
MIN_FRAME = ETH_HLEN
MAX_FRAME = ETH_FRAME_LEN

ID, VERSION, CONTROL, STATUS = 0x000, 0x004, 0x008, 0x00C
MAC_LOW, MAC_HIGH, SCRATCH = 0x010, 0x014, 0x018
INTERRUPT_STATUS, INTERRUPT_ACK, INTERRUPT_MASK = 0x020, 0x024, 0x028
TX_LENGTH, TX_COMMAND, TX_STATUS, TX_COUNT, TX_ERRORS = 0x040, 0x044, 0x048, 0x04C, 0x050
RX_LENGTH, RX_COMMAND, RX_STATUS = 0x080, 0x084, 0x088
RX_COUNT, RX_DROPPED, RX_FILTERED = 0x08C, 0x090, 0x094
RX_BUFFER, TX_BUFFER = 0x200, 0x800
RX_BUFFER_SIZE = TX_BUFFER - RX_BUFFER
TX_BUFFER_SIZE = WINDOW_SIZE - TX_BUFFER

CONTROL_RESET, CONTROL_TX_ENABLE = 1 << 0, 1 << 1
CONTROL_RX_ENABLE, CONTROL_PROMISC = 1 << 2, 1 << 3
STATUS_TX_READY, STATUS_LINK_UP = 1 << 0, 1 << 1
STATUS_ACCESS_ERROR, STATUS_RX_READY = 1 << 2, 1 << 3
IRQ_TX_DONE, IRQ_TX_ERROR, IRQ_RX_READY = 1 << 0, 1 << 1, 1 << 2
TX_COMMAND_SEND = 1 << 0
TX_STATUS_DONE, TX_STATUS_ERROR = 1 << 0, 1 << 1
TX_STATUS_CODE_SHIFT = 8
RX_COMMAND_RELEASE = 1 << 0
RX_STATUS_READY, RX_STATUS_BROADCAST, RX_STATUS_MULTICAST = 1 << 0, 1 << 1, 1 << 2

#: error codes in TX_STATUS
TX_TOO_SHORT, TX_TOO_LONG, TX_DISABLED, TX_BUSY, TX_REFUSED = 1, 2, 3, 4, 5

_INTERRUPTS = (
    Bits("TX_DONE", 0, "a frame was sent"),
    Bits("TX_ERROR", 1, "a SEND was refused; TX_STATUS says why"),
    Bits("RX_READY", 2, "a frame came in"),
)

#: Every register and both buffers, by offset.
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
            Bits("RESET", 0, "write 1: as after power-on, buffers cleared; reads 0"),
            Bits("TX_ENABLE", 1, "the transmitter takes SEND"),
            Bits("RX_ENABLE", 2, "the receiver takes frames; else they wait outside"),
            Bits("PROMISC", 3, "it takes those to other addresses, too"),
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
            Bits("RX_READY", 3, "a frame is in RX_BUFFER"),
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
    Register(RX_LENGTH, "RX_LENGTH", "R", 4, "bytes of the frame in RX_BUFFER; 0: there is none"),
    Register(
        RX_COMMAND,
        "RX_COMMAND",
        "W",
        4,
        "the other doorbell",
        (Bits("RELEASE", 0, "the frame has been read: RX_BUFFER is free for the next"),),
    ),
    Register(
        RX_STATUS,
        "RX_STATUS",
        "R",
        4,
        "what is in RX_BUFFER",
        (
            Bits("READY", 0, "a frame"),
            Bits("BROADCAST", 1, "it is to all stations"),
            Bits("MULTICAST", 2, "it is to another group of stations"),
        ),
    ),
    Register(RX_COUNT, "RX_COUNT", "R", 4, "frames taken since the last reset"),
    Register(RX_DROPPED, "RX_DROPPED", "R", 4, "frames shorter than 14 or longer than 1514 bytes"),
    Register(RX_FILTERED, "RX_FILTERED", "R", 4, "frames that were to somebody else"),
    Register(RX_BUFFER, "RX_BUFFER", "R", RX_BUFFER_SIZE, "the frame, and zeros behind it"),
    Register(TX_BUFFER, "TX_BUFFER", "RW", TX_BUFFER_SIZE, "the frame, from its first byte"),
)

#: the same, to look one up
BY_OFFSET = {register.offset: register for register in REGISTERS}
#: for those that are made of bits: which bits there are
KNOWN_BITS = {r.offset: sum(bits.mask for bits in r.bits) for r in REGISTERS if r.bits}


def register_name(offset: int) -> str:
    """What a trace calls an offset: "TX_COMMAND", "TX_BUFFER+0x10"."""
    if offset >= TX_BUFFER:
        return f"TX_BUFFER+{offset - TX_BUFFER:#x}"
    if offset >= RX_BUFFER:
        return f"RX_BUFFER+{offset - RX_BUFFER:#x}"
    register = BY_OFFSET.get(offset)
    return register.name if register is not None else f"{offset:#x}"


def why_refused(verb: str, offset: int, size: int) -> tuple[str, str]:
    """What is wrong with an access ("loads", "stores") that no register takes: rule, words."""
    register = BY_OFFSET.get(TX_BUFFER if offset >= TX_BUFFER else min(offset, RX_BUFFER))
    if register is None:
        rule = "no-register"
        what = f"{verb} {size} bytes at {offset:#x}, where no register is"
    elif size != 4 and register.width == 4:
        rule = "access-width"
        what = f"{verb} {size} bytes at {register.name} ({offset:#x}), which has 4"
    elif verb == "stores" and register.access == "R":
        rule, what = "read-only", f"stores to {register.name} ({offset:#x}), which is read-only"
    elif register.width == 4:
        rule, what = "write-only", f"loads {register.name} ({offset:#x}), which is write-only"
    elif register.offset == TX_BUFFER or offset + size > TX_BUFFER:
        rule = "buffer-range"
        what = f"{verb} {size} bytes at {offset:#x}, past the end of {register.name}"
    else:
        rule, what = "rx-empty", f"loads from RX_BUFFER ({offset:#x}), where no frame is"
    return rule, what
