"""The kits of tests/cpu serve here, too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parent.parent / "cpu"))
