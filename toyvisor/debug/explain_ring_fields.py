"""What a driver's loads and stores on a virtqueue mean (VIRTIO 1.2, 2.7), as a table."""

from __future__ import annotations

from toyvisor.debug.explanation import Idea

_SEND = "Linux drivers/virtio/virtio_ring.c: virtqueue_add_split()"
_FILL = Idea(
    "The driver describes a buffer. Nobody looks at a descriptor before avail.idx has passed the "
    "entry that names it; so it may be written in any order, and nothing exits.",
    f"VIRTIO 1.2, 2.7.13.1; {_SEND}",
)
#: A store of the driver's, by the field of guest_map.RamPlace.
STORES: dict[str, Idea] = {
    "desc.addr": _FILL,
    "desc.len": _FILL,
    "desc.flags": _FILL,
    "desc.next": _FILL,
    "avail.ring": Idea(
        "The head of a chain goes into the next slot of the available ring. The device does not "
        "see it yet: avail.idx is still behind.",
        f"VIRTIO 1.2, 2.7.13.2; {_SEND}",
    ),
    "avail.idx": Idea(
        "This store publishes the buffer: from here on it is the device's, which may look at any "
        "moment. So it comes after the stores to descriptors and ring. x86 keeps that order; "
        "others need a barrier. No exit: it is a store to RAM.",
        f"VIRTIO 1.2, 2.7.13.3; {_SEND}",
    ),
    "avail.flags": Idea(
        "Advice to the device whether to interrupt when it has used buffers. Only advice: it may "
        "interrupt all the same.",
        "VIRTIO 1.2, 2.7.7; Linux drivers/virtio/virtio_ring.c: virtqueue_disable_cb_split()",
    ),
    "used_event": Idea(
        "The driver names the used entry that it wants to hear of next. The device interrupts "
        "when used.idx passes it, and not for those before.",
        "VIRTIO 1.2, 2.7.7; Linux virtio_ring.c: virtqueue_enable_cb_prepare_split()",
    ),
}
_USED_IS_THE_DEVICES = Idea(
    "Only the device writes the used ring, once the queue is ready. Before that a driver clears "
    "it: both sides begin with index 0.",
    "VIRTIO 1.2, 2.7.8 and 4.2.3.2",
)
STORES.update(dict.fromkeys(("used.flags", "used.idx", "used.ring", "avail_event"),
                            _USED_IS_THE_DEVICES))  # fmt: skip

_GET = "Linux drivers/virtio/virtio_ring.c: virtqueue_get_buf_ctx_split()"
_OWN = Idea(
    "The driver looks at what it has written itself; it need not believe it: the memory is shared.",
    "VIRTIO 1.2, 2.7",
)
#: A load of the driver's.
LOADS: dict[str, Idea] = {
    "used.idx": Idea(
        "Has the device given something back? To look costs no exit, since the ring is in RAM. The "
        "new entries are those from where the driver stands up to used.idx.",
        f"VIRTIO 1.2, 2.7.14; {_GET}",
    ),
    "used.ring": Idea(
        "A used element: the head of the chain that comes back, and how many bytes the device has "
        "written into it.",
        f"VIRTIO 1.2, 2.7.8 and 2.7.14; {_GET}",
    ),
    "used.flags": Idea(
        "Does the device want a kick? While it is at work anyway it wants none, and the exit is "
        "saved. This load must not be done before the store to avail.idx: that takes a barrier "
        "even on x86.",
        "VIRTIO 1.2, 2.7.10; Linux drivers/virtio/virtio_ring.c: virtqueue_kick_prepare_split()",
    ),
    "avail_event": Idea(
        "The device has named the entry of the available ring that it wants to hear of. The driver "
        "kicks if avail.idx has just passed it, and saves the exit if not.",
        "VIRTIO 1.2, 2.7.10; Linux include/uapi/linux/virtio_ring.h: vring_need_event()",
    ),
}
LOADS.update(dict.fromkeys(("desc.addr", "desc.len", "desc.flags", "desc.next", "avail.flags",
                            "avail.idx", "avail.ring", "used_event"), _OWN))  # fmt: skip
