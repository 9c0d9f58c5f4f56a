"""No colours or caches of whoever runs the tests."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def own_environment(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TOYVISOR_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "demo-cache"))
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
