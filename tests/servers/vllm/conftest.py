"""vLLM's package as a stand-in, whose ops have its names and signatures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.servers.vllm import served_modules
from tests.builders import served_vllm


@pytest.fixture
def served_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts the stand-in on the path, in place of whatever an earlier test has loaded; forgets it afterwards."""
    monkeypatch.syspath_prepend(served_vllm.install(tmp_path))
    _forget()
    yield
    _forget()


def _forget() -> None:
    served_modules.imported.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm"]:
        del sys.modules[name]
