"""What the tests of the guest programs borrow."""

from __future__ import annotations

import sys
from pathlib import Path

# A network namespace of one's own, and real taps in it.
sys.path.append(str(Path(__file__).parents[1] / "host"))
