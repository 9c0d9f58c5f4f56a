"""Rules for drivers outside the rings: registers, status, features, requests.

The specification says what a driver must do, hardly ever what a device does when the
driver does not. What Toyvisor does is one of four things, written at each group below:

    ignored      the write does nothing, the read returns 0
    refused      FEATURES_OK stays clear, which the driver sees when it reads Status back
    needs reset  DEVICE_NEEDS_RESET: all queues stop until the driver resets the device
    dropped      the request is dropped, its buffer returned with length 0; a frame from the
                 network is dropped, and the buffer that it does not fit into stays

and always one entry in the log of guest errors.
"""

from __future__ import annotations

from toyvisor.virtio.errors import Rule

# Registers: ignored -----------------------------------------------------------------

NO_REGISTER = Rule(
    "virtio.mmio.no-register",
    "4.2.2.2",
    "only the offsets of the register table may be accessed; others read 0, writes are lost",
)
READ_ONLY = Rule(
    "virtio.mmio.read-only", "4.2.2.2", "a register of direction R can't be written; ignored"
)
WRITE_ONLY = Rule(
    "virtio.mmio.write-only", "4.2.2.2", "a register of direction W can't be read; reads 0"
)
ACCESS_WIDTH = Rule(
    "virtio.mmio.access-width",
    "4.2.2.2",
    "control registers take 32-bit aligned accesses only; others read 0, writes are lost",
)
QUEUE_BUSY = Rule(
    "virtio.mmio.queue-busy",
    "4.2.2.2",
    "while QueueReady is not 0 the queue's size and addresses stay as they are",
)
NO_QUEUE = Rule(
    "virtio.mmio.no-queue",
    "4.2.2",
    "QueueSel selects a queue the device does not have (its QueueNumMax reads 0)",
)
READY_VALUE = Rule("virtio.mmio.ready-value", "4.2.2", "QueueReady takes 1 or 0; ignored")
READY_EARLY = Rule(
    "virtio.mmio.ready-early",
    "3.1.1",
    "queues are set up after FEATURES_OK (step 7): what a ring looks like depends on features",
)
RING_RESET = Rule(
    "virtio.mmio.ring-reset",
    "4.2.2",
    "QueueReset works only if VIRTIO_F_RING_RESET was negotiated; ignored",
)
ACK_BITS = Rule(
    "virtio.mmio.ack-bits",
    "4.2.2.2",
    "InterruptACK takes bits 0 (used buffer) and 1 (configuration change); others are ignored",
)

# Configuration space: ignored -------------------------------------------------------

CONFIG_END = Rule(
    "virtio.config.end",
    "4.2.2.2",
    "the device's configuration ends before; bytes beyond read 0, writes are lost",
)
CONFIG_WIDTH = Rule(
    "virtio.config.width",
    "4.2.2.2",
    "configuration is read in aligned accesses of 1, 2 or 4 bytes; the bytes are served anyway",
)
CONFIG_READ_ONLY = Rule(
    "virtio.config.read-only", "5.1.4", "these fields are read-only for the driver; ignored"
)
CONFIG_EARLY = Rule(
    "virtio.config.early",
    "3.1.1",
    "configuration may be read before FEATURES_OK, but not written (step 4); ignored",
)

# Notifications: ignored -------------------------------------------------------------

NOTIFY_QUEUE = Rule(
    "virtio.notify.no-queue", "4.2.3.3", "QueueNotify takes the index of a queue; ignored"
)
NOTIFY_EARLY = Rule(
    "virtio.notify.early",
    "3.1.1",
    "no kick before DRIVER_OK; the device looks at every queue when it is set",
)
NOTIFY_NOT_READY = Rule(
    "virtio.notify.not-ready",
    "4.2.2.1",
    "a device does not touch a queue whose QueueReady is 0; ignored",
)

# Status -----------------------------------------------------------------------------

STATUS_CLEARED = Rule(
    "virtio.status.cleared",
    "2.1.1",
    "a status bit is never cleared but by a reset (writing 0); the old bits stay",
)
STATUS_UNDEFINED = Rule(
    "virtio.status.undefined", "2.1", "the bits 16, 32 and above 128 mean nothing; ignored"
)
STATUS_NEEDS_RESET = Rule(
    "virtio.status.needs-reset", "2.1.2", "DEVICE_NEEDS_RESET is set by the device; ignored"
)
STATUS_DRIVER_OK = Rule(
    "virtio.status.driver-ok",
    "3.1.1",
    "DRIVER_OK needs an accepted FEATURES_OK (steps 5 to 8); the bit stays clear",
)
STATUS_FAILED = Rule(
    "virtio.status.failed",
    "2.1.1",
    "after FAILED only a reset can bring the device back; ignored",
)

# Features: refused (the last: ignored) ------------------------------------------------

FEATURE_NOT_OFFERED = Rule(
    "virtio.features.not-offered",
    "2.2.1",
    "a driver accepts only what the device offers; FEATURES_OK stays clear",
)
FEATURE_VERSION_1 = Rule(
    "virtio.features.version-1",
    "6.1",
    "a driver must accept VIRTIO_F_VERSION_1 (bit 32: DriverFeaturesSel 1, bit 0); without it "
    "FEATURES_OK stays clear",
)
FEATURE_DEPENDENCY = Rule(
    "virtio.features.dependency",
    "2.2.1",
    "a feature that requires another can be accepted only with it; FEATURES_OK stays clear",
)
FEATURE_LATE = Rule(
    "virtio.features.late",
    "3.1.1",
    "no feature bits after FEATURES_OK (step 5); ignored until a reset",
)

# virtio-net, transmit: dropped (the last two: told, and sent all the same) -------------

NET_TX_WRITABLE = Rule(
    "virtio.net.tx-writable",
    "5.1.6",
    "what goes to the transmit queue is device-readable only; dropped",
)
NET_TX_HEADER = Rule(
    "virtio.net.tx-header",
    "5.1.6",
    "a packet is preceded by struct virtio_net_hdr, 12 bytes with VIRTIO_F_VERSION_1; dropped",
)
NET_TX_SHORT = Rule(
    "virtio.net.tx-short",
    "5.1.6.2",
    "an Ethernet frame has a header of 14 bytes; Linux's tap answers EINVAL to less; dropped",
)
NET_TX_LONG = Rule(
    "virtio.net.tx-long",
    "5.1.6.3",
    "the longest packet there is has 65550 bytes, Ethernet header included; dropped",
)
NET_TX_GSO = Rule(
    "virtio.net.tx-gso",
    "5.1.6.2.1",
    "gso_type is NONE (0) unless VIRTIO_NET_F_HOST_TSO4, TSO6, USO or UFO was negotiated; "
    "dropped. A driver that forgets the 12 bytes of header often shows like this",
)
NET_TX_FLAGS = Rule(
    "virtio.net.tx-flags",
    "5.1.6.2.1",
    "flags is 0 unless VIRTIO_NET_F_CSUM was negotiated; the device ignores the bits, so "
    "nobody completes the checksum",
)
NET_TX_NUM_BUFFERS = Rule(
    "virtio.net.tx-num-buffers", "5.1.6.2.1", "num_buffers is 0 on transmit; the device ignores it"
)

# virtio-net, receive: the frame is dropped, the buffer stays (first: needs reset; last: told) --

NET_RX_NOT_WRITABLE = Rule(
    "virtio.net.rx-not-writable",
    "5.1.6.3",
    "a receive buffer is device-writable: its descriptors have VIRTQ_DESC_F_WRITE; QEMU: "
    "'virtio-net receive queue contains no in buffers'; needs reset",
)
NET_RX_SMALL = Rule(
    "virtio.net.rx-small",
    "5.1.6.3.1",
    "without VIRTIO_NET_F_MRG_RXBUF a frame has to fit into one buffer, behind 12 bytes of "
    "header: buffers of 1526 bytes. The frame is dropped, the buffer waits for a shorter one",
)
NET_RX_HEADER = Rule(
    "virtio.net.rx-header",
    "5.1.6.3.1",
    "with VIRTIO_NET_F_MRG_RXBUF each buffer has at least the 12 bytes of struct "
    "virtio_net_hdr; the frame is dropped, the buffer stays",
)
NET_RX_FULL_RING = Rule(
    "virtio.net.rx-full-ring",
    "5.1.6.3",
    "the buffers of a whole queue together must hold a frame of 1514 bytes and its header, or "
    "it could never come in; dropped",
)
NET_RX_READABLE = Rule(
    "virtio.net.rx-readable",
    "5.1.6.3",
    "a receive buffer is device-writable only; the device makes no use of its readable "
    "descriptors (vhost-net stops: 'unexpected descriptor format for RX')",
)
