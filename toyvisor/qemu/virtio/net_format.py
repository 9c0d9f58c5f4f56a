"""The numbers of virtio-net that only QEMU's device needs (VIRTIO 1.2, 5.1).

Those it shares with vhost are in `toyvisor.virtio.net`.
"""

from __future__ import annotations

from struct import Struct

from toyvisor.host.frames import ETH_FRAME_LEN
from toyvisor.qemu.virtio.device import QUEUE_FEATURES
from toyvisor.virtio.net import HEADER_SIZE, MRG_RXBUF

# Feature bits (5.1.3); with MRG_RXBUF, those this model knows.
MAC = 1 << 5
STATUS = 1 << 16
FEATURES = int(QUEUE_FEATURES) | MAC | MRG_RXBUF | STATUS

LINK_UP = 1  # VIRTIO_NET_S_LINK_UP (5.1.4)
#: struct virtio_net_config, as far as the offered features go: mac, status (5.1.4)
CONFIG = Struct("<6sH")

ETHERNET_HEADER = 14
MAX_FRAME = 65550  # the largest packet of 65536 bytes, and its Ethernet header (5.1.6.3)
#: what a receive buffer has room for, unless buffers can be merged (5.1.6.3.1)
RECEIVE_BUFFER = HEADER_SIZE + ETH_FRAME_LEN
