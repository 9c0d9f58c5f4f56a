"""virtio-net: the numbers that both of its device models share (VIRTIO 1.2, 5.1).

One model is QEMU's (qemu/virtio/net.py), the other vhost, in the kernel (host/vhost_net.py).
"""

from __future__ import annotations

from struct import Struct

RECEIVE, TRANSMIT = 0, 1  # receiveq1, transmitq1 (5.1.2)
MRG_RXBUF = 1 << 15  # VIRTIO_NET_F_MRG_RXBUF: one frame in several receive buffers (5.1.3)

#: struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset,
#: num_buffers (5.1.6). 10 bytes, without num_buffers, was the legacy header.
HEADER = Struct("<BBHHHHH")
HEADER_SIZE = HEADER.size
