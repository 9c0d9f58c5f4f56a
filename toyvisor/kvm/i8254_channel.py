"""One counter of the 8254: what it stands at, its output, and the bytes in and out.

The counter alone, without a clock; the timer, its ports and its interrupt are in i8254.py,
which names the sources.
"""

from __future__ import annotations

from typing import NamedTuple

from toyvisor.kvm.i8254_registers import BCD, STATUS_OUT

NO_MODE = 0xFF  # after reset

# Which byte of a count is next (Linux: RW_STATE_*): of one byte, of two the first, the second.
_LSB, _MSB, _WORD0, _WORD1 = 1, 2, 3, 4


class ChannelState(NamedTuple):
    """struct kvm_pit_channel_state."""

    count: int = 0x10000  # type: ignore[assignment]  # the name of tuple's method, too
    latched_count: int = 0
    count_latched: int = 0
    status_latched: int = 0
    status: int = 0
    read_state: int = 0
    write_state: int = 0
    write_latch: int = 0
    rw_mode: int = 0
    mode: int = NO_MODE
    bcd: int = 0
    gate: int = 1
    count_load_time: int = 0  # in guest instructions


class Channel:
    """One counter (struct kvm_kpit_channel_state). `elapsed` is in ticks since it was loaded."""

    __slots__ = ChannelState._fields

    count: int
    latched_count: int
    count_latched: int
    status_latched: int
    status: int
    read_state: int
    write_state: int
    write_latch: int
    rw_mode: int
    mode: int
    bcd: int
    gate: int
    count_load_time: int

    def __init__(self, state: ChannelState) -> None:
        self.set_state(state)

    def get_state(self) -> ChannelState:
        """All registers, as plain numbers."""
        return ChannelState(*(getattr(self, name) for name in ChannelState._fields))

    def set_state(self, state: ChannelState) -> None:
        """Put back what get_state() gave."""
        for name, value in zip(ChannelState._fields, state, strict=True):
            setattr(self, name, value)

    def now_at(self, elapsed: int) -> int:
        """What the counter stands at (Linux: pit_get_count)."""
        match self.mode:
            case 0 | 1 | 4 | 5:
                return self.count - elapsed & 0xFFFF
            case 3:
                return self.count - 2 * elapsed % self.count & 0xFFFF
            case _:
                return self.count - elapsed % self.count & 0xFFFF

    def out(self, elapsed: int) -> int:
        """Its output (Linux: pit_get_out)."""
        count = self.count
        match self.mode:
            case 1:
                return int(elapsed < count)
            case 2:  # KVM has it the other way round than the data sheet: high for one tick
                return int(elapsed != 0 and elapsed % count == 0)
            case 3:
                return int(elapsed % count < count + 1 >> 1)
            case 4 | 5:
                return int(elapsed == count)
            case _:
                return int(elapsed >= count)

    def latch_count(self, elapsed: int) -> None:
        """Keep the count until it is read; a second latch before that does nothing."""
        if not self.count_latched:
            self.latched_count = self.now_at(elapsed)
            self.count_latched = self.rw_mode

    def latch_status(self, elapsed: int) -> None:
        """The same for the status."""
        if not self.status_latched:
            out = STATUS_OUT if self.out(elapsed) else 0
            self.status = out | self.rw_mode << 4 | self.mode << 1 & 0xFF | self.bcd
            self.status_latched = 1

    def set_mode(self, word: int) -> None:
        """The control word's lower six bits. The counter goes on as before until it is loaded."""
        self.rw_mode = self.read_state = self.write_state = word >> 4 & 3
        mode = word >> 1 & 7
        self.mode = mode if mode <= 5 else mode - 4  # 6 and 7 are 2 and 3
        self.bcd = word & BCD

    def take_byte(self, value: int) -> int | None:
        """A byte is written: the new count, once it is complete."""
        state = self.write_state
        if state == _MSB:
            return value << 8
        if state == _WORD0:
            self.write_latch = value
            self.write_state = _WORD1
            return None
        if state == _WORD1:
            self.write_state = _WORD0
            return self.write_latch | value << 8
        return value

    def give_byte(self, elapsed: int) -> int:
        """A byte is read: of the latched status, else of the latched count, else as it is."""
        if self.status_latched:
            self.status_latched = 0
            return self.status
        if self.count_latched:
            high = self.count_latched == _MSB
            self.count_latched = _MSB if self.count_latched == _WORD0 else 0
            return self.latched_count >> 8 if high else self.latched_count & 0xFF
        count = self.now_at(elapsed)
        if self.read_state == _WORD0:
            self.read_state = _WORD1
            return count & 0xFF
        if self.read_state == _WORD1:
            self.read_state = _WORD0
            return count >> 8
        return count >> 8 if self.read_state == _MSB else count & 0xFF
