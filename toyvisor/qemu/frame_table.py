"""The frames an application wants sent, in guest memory.

Where a real guest would have applications with packets in their buffers, this one finds
them in RAM, described by a table at a fixed place:

    0x10000  le32  number of frames
    0x10004  le32  bytes of all frames together
    0x10008  le64  0
    0x10010  one entry of 16 bytes for each frame:
             le64  address, le32  length in bytes, le32  0

The frames themselves lie at the top of RAM, each at a multiple of 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack_into

from toyvisor.errors import InputError
from toyvisor.guest.program import MachineSpec

FRAME_TABLE = 0x10000
FRAME_TABLE_END = 0x20000
FRAME_TABLE_HEADER = 16
FRAME_ENTRY = 16
MAX_FRAMES = (FRAME_TABLE_END - FRAME_TABLE - FRAME_TABLE_HEADER) // FRAME_ENTRY


def place_frames(
    ram: memoryview, frames: Sequence[bytes], program_end: int, spec: MachineSpec
) -> None:
    """Write the table and the frames. Raises InputError if they do not fit."""
    if len(frames) > MAX_FRAMES:
        raise InputError(
            f"{len(frames)} frames to send, but the table in guest memory holds {MAX_FRAMES}"
        )
    total = sum(len(frame) for frame in frames)
    pack_into("<IIQ", ram, FRAME_TABLE, len(frames), total, 0)
    top = len(ram)
    for index, frame in enumerate(frames):
        top = (top - len(frame)) & ~0xF
        if top < max(program_end, FRAME_TABLE_END):
            raise InputError(
                f"{len(frames)} frames ({total} bytes) do not fit into the guest's memory "
                f"of {len(ram)} bytes",
                hint=f'raise memory in the machine block, e.g. memory = "{_enough(spec, total)}M"',
            )
        ram[top : top + len(frame)] = frame
        entry = FRAME_TABLE + FRAME_TABLE_HEADER + index * FRAME_ENTRY
        pack_into("<QII", ram, entry, top, len(frame), 0)


def _enough(spec: MachineSpec, total: int) -> int:
    return (spec.memory + total >> 20) + 1
