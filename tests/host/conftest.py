"""What the tests of the host's files share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# vhost is shown the same broken rings as the ring itself.
sys.path.append(str(Path(__file__).parents[1] / "virtio"))


@pytest.fixture
def save(tmp_path):
    """Write bytes to a file; returns its path."""

    def save(data: bytes, name: str = "in.pcap") -> str:
        path = tmp_path / name
        path.write_bytes(data)
        return str(path)

    return save
