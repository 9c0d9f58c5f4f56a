"""The ports and command words of the 8254 timer, and of the speaker's port beside it.

Bits as in the data sheet (Intel 8254, order number 231164-005, 1993, figures 7 and 11); ports
named as in Linux (include/linux/i8253.h).
"""

from __future__ import annotations

from toyvisor.kvm.port_register import PortBits, PortRegister

CH0, CH1, CH2, MODE = 0x40, 0x41, 0x42, 0x43
SPEAKER = 0x61

#: The ports to register with the bus: (first, how many).
PORT_RANGES = ((CH0, 4), (SPEAKER, 1))

#: The input clock in Hz: a twelfth of the PC's quartz of 14.31818 MHz.
TICK_RATE = 1_193_182
#: The first PC's processor ran at four times that clock. Here it runs one instruction a cycle.
INSTRUCTIONS_PER_TICK = 4

# The control word, to MODE: a counter, how it is accessed, how it works.
SELECT_CH0, SELECT_CH1, SELECT_CH2 = 0x00, 0x40, 0x80
ACCESS_LATCH, ACCESS_LSB, ACCESS_MSB, ACCESS_WORD = 0x00, 0x10, 0x20, 0x30
TERMINAL_COUNT, ONE_SHOT, RATE_GENERATOR = 0 << 1, 1 << 1, 2 << 1  # modes 0 to 5
SQUARE_WAVE, SOFTWARE_STROBE, HARDWARE_STROBE = 3 << 1, 4 << 1, 5 << 1
BCD = 0x01

# The read-back command: what not to latch, and of which counters to latch the rest.
READ_BACK = 0xC0
READ_BACK_NO_COUNT, READ_BACK_NO_STATUS = 0x20, 0x10
READ_BACK_CH0, READ_BACK_CH1, READ_BACK_CH2 = 0x02, 0x04, 0x08

# What a latched status reads: beside this, the control word's lower six bits.
STATUS_OUT = 0x80

# The speaker's port.
SPEAKER_GATE2, SPEAKER_DATA = 0x01, 0x02
SPEAKER_REFRESH, SPEAKER_OUT2 = 0x10, 0x20

#: Ticks between two refreshes of the first PC's memory, for which counter 1 was.
REFRESH_TICKS = 18

_COUNTERS = ("makes IRQ 0", "once timed the refresh of memory", "goes to the speaker")

#: What stands behind the ports.
REGISTERS: tuple[PortRegister, ...] = (
    *(
        PortRegister(CH0 + number, f"CH{number}", "RW", f"counter {number}, which {what}")
        for number, what in enumerate(_COUNTERS)
    ),
    PortRegister(
        MODE,
        "MODE",
        "W",
        "control word: how a counter works and how it is read and written",
        (
            PortBits("SC", READ_BACK, "counter 0 to 2; 3: read-back"),
            PortBits(
                "RW", ACCESS_WORD, "0 latch the count, 1 low byte, 2 high byte, 3 low then high"
            ),
            PortBits("M", 0x0E, "mode 0 to 5"),
            PortBits("BCD", BCD, "count in decimal; kept, and counted in binary all the same"),
        ),
    ),
    PortRegister(
        MODE,
        "READ_BACK",
        "W",
        "latch counts and statuses, to be read from the counters' ports",
        (
            PortBits("1", READ_BACK, "this is the read-back command"),
            PortBits("COUNT", READ_BACK_NO_COUNT, "0: latch the count"),
            PortBits("STATUS", READ_BACK_NO_STATUS, "0: latch the status"),
            PortBits("CNT", 0x0E, "of which counters"),
        ),
    ),
    PortRegister(
        SPEAKER,
        "SPEAKER",
        "RW",
        "counter 2's gate and output",
        (
            PortBits("GATE2", SPEAKER_GATE2, "counter 2 may count"),
            PortBits("DATA", SPEAKER_DATA, "the speaker is connected; nothing is heard"),
            PortBits("REFRESH", SPEAKER_REFRESH, "R: changes about every 15 us"),
            PortBits("OUT2", SPEAKER_OUT2, "R: counter 2's output"),
        ),
    ),
)
