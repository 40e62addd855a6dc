"""What a server would not find is an error, not a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.errors import AutotuneError
from autotune.export.export import export
from autotune.servers import Lookup
from autotune.servers.vllm.server import VLLM
from tests.builders.exports import (
    at,
    item,
    snapshot,
)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lookup_that_misses_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    wrong = Lookup("default", VLLM.default_config(at()))
    name = "resolve" if when == "before" else "lookup"
    monkeypatch.setattr(VLLM, name, lambda *_: wrong)
    with pytest.raises(AutotuneError, match="the server's lookup of 5/1/64/4096/16 gives"):
        export([item()], tmp_path)
    assert bool(snapshot(tmp_path)) == (when == "after")
