"""Who owns each descriptor of a virtqueue, from its rings and from what the device knows.

The device's own indices say what it has taken and given back; avail.idx in guest RAM says what it
may take. Only one of the four hands is hidden: how far the driver has looked at the used ring. It
keeps that in a register or a variable of its own, so it can only be inferred.
"""

from __future__ import annotations

from typing import NamedTuple

from toyvisor.debug.views.ring_in_ram import RawRings
from toyvisor.debug.views.virtqueue_rows import DriverSeen, Owner

_MASK = 0xFFFF


class Positions(NamedTuple):
    """The four borders of the rings, running freely modulo 65536, each behind the one before.

    Buffers from what the driver has seen to `used` are used and not yet seen; from `used` to
    `done` they are not yet published; then come those in flight, up to `taken`; then the
    available ones, up to `given`.
    """

    used: int  # used.idx as the device has written it
    done: int  # behind the last used element that it has written
    taken: int  # the device's last_avail
    in_flight: int
    given: int  # avail.idx


class OwnedHeads(NamedTuple):
    """The heads of all chains that are not simply the driver's, oldest first."""

    used: tuple[int, ...]
    publishing: tuple[int, ...]
    in_flight: tuple[int, ...]
    available: tuple[int, ...]

    def in_order(self) -> list[tuple[Owner, int]]:
        """(owner, head), in the order in which the driver gave them."""
        return [
            *((Owner.USED, head) for head in self.used),
            *((Owner.PUBLISHING, head) for head in self.publishing),
            *((Owner.IN_FLIGHT, head) for head in self.in_flight),
            *((Owner.AVAILABLE, head) for head in self.available),
        ]


def heads(rings: RawRings, at: Positions, seen: int | None) -> OwnedHeads:
    """The chains between the borders."""
    used = _used_ids(rings, seen if seen is not None else at.used, at.used)
    return OwnedHeads(
        used,
        _used_ids(rings, at.used, at.done),
        _avail_heads(rings, at.taken - at.in_flight & _MASK, at.taken),
        _avail_heads(rings, at.taken, at.given),
    )


def driver_seen(rings: RawRings, at: Positions) -> DriverSeen:
    """How far the driver must have come in the used ring, at least.

    used_event says nothing of it: a driver names the entry that it wants to hear of, which may be
    one ahead (the last of a batch), or one behind (it wants to hear of none).
    """
    if not rings.used_ring or not rings.avail_ring:
        return DriverSeen()
    known = _ring_fill(rings, at.used)
    behind, how = known, "nothing shows that it has looked"
    for count, why in (
        (_not_reused(rings, at, known), "what it has made available again it has seen"),
        (_room(rings, at), "there is no room for more that it has not seen"),
    ):
        if count < behind:
            behind, how = count, why
    if not known:
        return DriverSeen(at.used, is_inferred=False, how="nothing has been used yet")
    return DriverSeen(at.used - behind & _MASK, is_inferred=True, how=how)


def _ring_fill(rings: RawRings, idx: int) -> int:
    """Entries of the used ring that mean something. A ring begins with zeros and index 0."""
    if idx >= rings.size:
        return rings.size
    first_lap = not any(map(any, rings.used_ring[idx:]))
    return idx if first_lap else rings.size


def _not_reused(rings: RawRings, at: Positions, known: int) -> int:
    """Used entries behind the last one whose head is back on its way."""
    again = {*_used_ids(rings, at.used, at.done)}
    again.update(_avail_heads(rings, at.taken - at.in_flight & _MASK, at.given))
    for behind in range(known):
        head = rings.used_ring[at.used - 1 - behind & rings.size - 1][0]
        if head in again:
            return behind
        again.add(head)
    return known


def _room(rings: RawRings, at: Positions) -> int:
    """A driver has at most `size` chains out, those that it has not seen come back included."""
    out = at.given - at.used & _MASK
    return rings.size - out if out <= rings.size else rings.size


def _used_ids(rings: RawRings, first: int, after: int) -> tuple[int, ...]:
    count = after - first & _MASK
    if not rings.used_ring or count > rings.size:
        return ()
    return tuple(rings.used_ring[first + n & rings.size - 1][0] for n in range(count))


def _avail_heads(rings: RawRings, first: int, after: int) -> tuple[int, ...]:
    count = after - first & _MASK
    if not rings.avail_ring or count > rings.size:
        return ()
    return tuple(rings.avail_ring[first + n & rings.size - 1] for n in range(count))
