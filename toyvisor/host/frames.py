"""What Ethernet frames are to the whole host: lengths, and a default to send."""

from __future__ import annotations

ETH_HLEN = 14  # <linux/if_ether.h>: two addresses and the EtherType
ETH_FRAME_LEN = 1514  # <linux/if_ether.h>: the longest frame without FCS
MAX_FRAME = 65535  # what a tap takes

#: QEMU's own first MAC address (net/net.c, qemu_macaddr_default_if_unset)
DEFAULT_MAC = bytes.fromhex("525400123456")
_LOCAL_EXPERIMENTAL = b"\x88\xb5"  # EtherType of IEEE 802: for lessons like this one
#: what a guest sends when nobody gave it anything: one broadcast of the least size (60 bytes)
DEFAULT_FRAMES: tuple[bytes, ...] = (
    (
        b"\xff" * 6 + DEFAULT_MAC + _LOCAL_EXPERIMENTAL + b"Hello from inside a virtual machine"
    ).ljust(60, b"\0"),
)
