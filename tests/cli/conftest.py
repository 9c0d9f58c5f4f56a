"""A cache of their own for these tests, and the command line called as a function."""

from __future__ import annotations

import json

import pytest
from asking import Answer

from toyvisor.cli import main


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOYVISOR_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "CLICOLOR_FORCE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def toyvisor(capfdbinary):
    """toyvisor("run", "add") -> Answer; whatever it does, it returns a status."""

    def call(*arguments: object) -> Answer:
        capfdbinary.readouterr()
        status = main([str(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        return Answer(status, out, err.decode())

    return call


@pytest.fixture
def run_json(toyvisor):
    """The object that `run --json` prints; nothing else may be printed."""

    def call(*arguments: object) -> dict:
        return json.loads(toyvisor("run", *arguments, "--json").text)

    return call


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory, for paths as people type them."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
