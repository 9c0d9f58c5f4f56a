"""The PC's interval timer, an 8254, as KVM has it in the kernel.

Reference: Linux, arch/x86/kvm/i8254.c. Three counters of 16 bits count down the same clock;
counter 0 makes IRQ 0, counter 2 the speaker's tone. Six modes:

    0  interrupt on terminal count   once, `count` ticks after it was written
    1  one-shot                      as 0 here; the data sheet wants an edge of the gate first
    2  rate generator                every `count` ticks
    3  square wave                   every `count` ticks; the count falls in steps of two
    4  software strobe               as 0
    5  hardware strobe               never here: counter 0 has a gate that never changes

Where KVM is simpler than the data sheet, so is this: a new count counts at once, a new mode
only from the next count on; a gate that is low does not stop a counter, but its rise starts
modes 1, 2, 3 and 5 anew; BCD is kept and not counted in; the status has no NULL COUNT. After
reset no counter has a mode, and nothing interrupts until the guest has set one.

Time is `now()`, in guest instructions, four to a tick: no floats, nothing drifts.

Missed interrupts. The timer does not wait for the guest: periods pass while interrupts are
off. One request fits into the interrupt controller, so the others would be lost and the
guest's clock slow. KVM counts them in `pending`, and at each end of an IRQ 0 makes the next
("reinject", KVM_REINJECT_CONTROL); a guest that keeps IRQ 0 masked wants none of them. Without
`reinject` they are lost, as on a PC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from toyvisor.kvm.i8254_channel import Channel as Channel
from toyvisor.kvm.i8254_channel import ChannelState as ChannelState
from toyvisor.kvm.i8254_registers import (
    ACCESS_LATCH,
    ACCESS_WORD,
    CH0,
    INSTRUCTIONS_PER_TICK,
    MODE,
    READ_BACK,
    READ_BACK_NO_COUNT,
    READ_BACK_NO_STATUS,
    REFRESH_TICKS,
    SPEAKER,
    SPEAKER_DATA,
    SPEAKER_GATE2,
    SPEAKER_OUT2,
    SPEAKER_REFRESH,
)

#: KVM's min_timer_period_us, 200 us, in ticks: a guest can't keep the host busy with a shorter
#: period; it gets this one.
MIN_PERIOD_TICKS = 238

_PERIODIC = (2, 3)
_ONCE = (0, 1, 4)
_STARTED_BY_GATE = (1, 2, 3, 5)


class PitState(NamedTuple):
    """All of a timer, as plain numbers."""

    channels: tuple[ChannelState, ChannelState, ChannelState]
    speaker_data_on: int
    next_expiry: int | None
    expires: int
    period: int
    is_periodic: int
    reinject: int
    pending: int
    irq_ack: int


class Pit:
    """The timer, its ports and its line IRQ 0 (struct kvm_pit).

    `set_irq` drives the line. Whoever has the clock calls expire() when `now()` has come to
    `next_expiry` (guest instructions; None: nothing is to come), and is told by `on_change`
    when that becomes another. Counter 0's interrupts also want to know of EOIs and of masks:
    register ack_irq and mask_changed with the interrupt controller.
    """

    __slots__ = (
        "_expires",
        "_is_periodic",
        "_min_period",
        "_now",
        "_period",
        "_set_irq",
        "channels",
        "irq_ack",
        "next_expiry",
        "on_change",
        "pending",
        "reinject",
        "speaker_data_on",
    )

    def __init__(
        self,
        set_irq: Callable[[int], object],
        now: Callable[[], int],
        *,
        min_period_ticks: int = MIN_PERIOD_TICKS,
    ) -> None:
        self._set_irq = set_irq
        self._now = now
        self._min_period = min_period_ticks * INSTRUCTIONS_PER_TICK
        #: When counter 0 makes its next interrupt.
        self.next_expiry: int | None = None
        self.on_change: Callable[[], None] | None = None
        #: KVM_REINJECT_CONTROL: whether interrupts that could not be made are made up for.
        self.reinject = True
        self.channels = tuple(Channel(ChannelState()) for _ in range(3))
        self.reset()

    def reset(self) -> None:
        """As after power-on (Linux: kvm_pit_reset). Gate 2 is the guest's, the others are up."""
        now = self._now()
        for number, channel in enumerate(self.channels):
            channel.set_state(ChannelState(gate=int(number != 2), count_load_time=now))
        self.speaker_data_on = 0
        # The timer behind counter 0 (struct hrtimer): how far it has come is seen by when it
        # expires, and by its period (0: it has never been started).
        self._expires = self._period = 0
        self._is_periodic = False
        self._reset_reinject()
        self._arm(None)

    def get_state(self) -> PitState:
        """Everything, for a snapshot (KVM_GET_PIT2, and the timer)."""
        first, second, third = self.channels
        return PitState(
            (first.get_state(), second.get_state(), third.get_state()),
            self.speaker_data_on,
            self.next_expiry,
            self._expires,
            self._period,
            int(self._is_periodic),
            int(self.reinject),
            self.pending,
            int(self.irq_ack),
        )

    def set_state(self, state: PitState) -> None:
        """Put back what get_state() gave; unlike KVM_SET_PIT2, no counter starts anew."""
        for channel, of in zip(self.channels, state.channels, strict=True):
            channel.set_state(of)
        self.speaker_data_on = state.speaker_data_on
        self._expires, self._period = state.expires, state.period
        self._is_periodic = bool(state.is_periodic)
        self.reinject = bool(state.reinject)
        self.pending, self.irq_ack = state.pending, bool(state.irq_ack)
        self._arm(state.next_expiry)

    @property
    def is_running(self) -> bool:
        """Whether counter 0 will interrupt again."""
        return self.next_expiry is not None

    # Interrupts -------------------------------------------------------------------------

    def run_due(self, now: int) -> bool:
        """Expire, if that is due by `now`; whether it was (Linux: pit_timer_fn).

        IRQ 0 goes up and down, an edge. Periods that passed unnoticed count in `pending`, too.
        """
        due = self.next_expiry
        if due is None or now < due:
            return False
        late, passed = now - due, 1
        if self._is_periodic:
            passed += late // self._period
            self._expires = due + passed * self._period
            self._arm(self._expires)
        else:
            self._arm(None)
        if self.reinject:
            self.pending += passed
        self._make_interrupt()
        return True

    def _make_interrupt(self) -> None:
        """Linux: pit_do_work(). With `reinject`, not before the last one has ended."""
        if self.reinject:
            if not self.irq_ack:
                return
            self.irq_ack = False
        self._set_irq(1)
        self._set_irq(0)

    def ack_irq(self) -> None:
        """An IRQ 0 has ended (Linux: kvm_pit_ack_irq): make the next that is pending."""
        if not self.reinject:
            return
        self.irq_ack = True
        if self.pending:
            self.pending -= 1
            if self.pending:
                self._make_interrupt()

    def mask_changed(self, masked: bool) -> None:
        """IRQ 0 is masked or unmasked (Linux: pit_mask_notifer): it missed none it wanted."""
        if self.reinject and not masked:
            self._reset_reinject()

    def _reset_reinject(self) -> None:
        #: interrupts that are to be made, the one that is under way among them
        self.pending = 0
        #: the last one has ended
        self.irq_ack = True

    def _arm(self, when: int | None) -> None:
        if when != self.next_expiry:
            self.next_expiry = when
            if self.on_change is not None:
                self.on_change()

    def _load(self, number: int, count: int) -> None:
        """A count is complete (Linux: pit_load_count). 0 is the most there is, 65536."""
        channel = self.channels[number]
        channel.count = count or 0x10000
        if number:
            channel.count_load_time = self._now()
        elif channel.mode in _PERIODIC or channel.mode in _ONCE:
            self._start(channel.count * INSTRUCTIONS_PER_TICK, channel.mode in _PERIODIC)
        else:
            self._arm(None)

    def _start(self, interval: int, is_periodic: bool) -> None:
        """Linux: create_pit_timer(). The first interval is not subject to the limit."""
        self._is_periodic = is_periodic
        self._period = max(interval, self._min_period) if is_periodic else interval
        self._expires = self._now() + interval
        self._reset_reinject()
        self._arm(self._expires)

    # The guest's accesses (KvmIoDevice) -----------------------------------------------------

    def elapsed(self, number: int) -> int:
        """Ticks since the counter was loaded; counter 0's, in its present period."""
        now = self._now()
        if number:
            return (now - self.channels[number].count_load_time) // INSTRUCTIONS_PER_TICK
        if not self._period:
            return 0
        return (self._period - (self._expires - now)) // INSTRUCTIONS_PER_TICK

    def accepts(self, address: int, _size: int, _value: int | None) -> bool:
        """Every access to our ports."""
        return CH0 <= address <= MODE or address == SPEAKER

    def write(self, address: int, size: int, value: int) -> bool:
        """An OUT; of a wider one the lowest byte counts (Linux: pit_ioport_write)."""
        value &= 0xFF
        if CH0 <= address < MODE:
            number = address - CH0
            count = self.channels[number].take_byte(value)
            if count is not None:
                self._load(number, count)
        elif address == MODE:
            self._write_control(value)
        elif address == SPEAKER:
            self.speaker_data_on = int(bool(value & SPEAKER_DATA))
            self._set_gate(2, value & SPEAKER_GATE2)
        else:
            return False
        return True

    def read(self, address: int, size: int) -> int | None:
        """An IN; the upper bytes of a wider one are zero. The control word can't be read."""
        if CH0 <= address < MODE:
            number = address - CH0
            return self.channels[number].give_byte(self.elapsed(number))
        if address == MODE:
            return 0
        if address == SPEAKER:
            return self._read_speaker()
        return None

    def _write_control(self, value: int) -> None:
        select = value >> 6
        if value & READ_BACK == READ_BACK:
            for number, channel in enumerate(self.channels):
                if value & 2 << number:
                    if not value & READ_BACK_NO_COUNT:
                        channel.latch_count(self.elapsed(number))
                    if not value & READ_BACK_NO_STATUS:
                        channel.latch_status(self.elapsed(number))
        elif value & ACCESS_WORD == ACCESS_LATCH:
            self.channels[select].latch_count(self.elapsed(select))
        else:
            self.channels[select].set_mode(value)

    def _set_gate(self, number: int, level: int) -> None:
        """Linux: pit_set_gate()."""
        channel = self.channels[number]
        if level > channel.gate and channel.mode in _STARTED_BY_GATE:
            channel.count_load_time = self._now()
        channel.gate = level

    def _read_speaker(self) -> int:
        ticks = self._now() // INSTRUCTIONS_PER_TICK
        return (
            self.channels[2].gate
            | (SPEAKER_DATA if self.speaker_data_on else 0)
            | (SPEAKER_REFRESH if ticks // REFRESH_TICKS & 1 else 0)
            | (SPEAKER_OUT2 if self.channels[2].out(self.elapsed(2)) else 0)
        )
