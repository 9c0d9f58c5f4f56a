"""What the tests of QEMU's threads share."""

from __future__ import annotations

import pytest
from loop_kit import Host


@pytest.fixture
def host() -> Host:
    return Host()
