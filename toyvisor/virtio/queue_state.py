"""What a device keeps to itself of a split virtqueue, beside what lies in guest RAM."""

from __future__ import annotations

from typing import NamedTuple


class QueueState(NamedTuple):
    """The device's own indices and counts; the driver sees copies of some of them.

    last_avail    the next entry of the available ring to take
    avail_idx     avail.idx as it was last read
    used_idx      used.idx as it was last written
    filled        used elements that are written, and not yet published
    in_flight     chains that were taken, and whose used element is not yet written
    unsignalled   chains published since the driver was last thought of being interrupted
    wants_kick    whether the driver is asked to kick
    is_running    False: the queue was stopped, and is not touched any more
    """

    last_avail: int
    avail_idx: int
    used_idx: int
    filled: int
    in_flight: int
    unsignalled: int
    wants_kick: bool
    is_running: bool
