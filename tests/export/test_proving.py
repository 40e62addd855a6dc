"""What a server would not find is an error, not a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.errors import AutotuneError
from autotune.export.export import export
from autotune.servers import Lookup
from autotune.servers.vllm.server import VLLM
from tests.builders.counted_reads import counted_reads
from tests.builders.exports import (
    at,
    item,
    shrink,
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


def test_each_file_is_read_as_often_for_many_entries_as_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = counted_reads(monkeypatch)
    export([item()], tmp_path / "one")
    for_one = reads.copy()
    reads.clear()
    export([item(shrink(m), study=f"m{m}") for m in (16, 32, 64, 128, 256)], tmp_path / "many")
    assert reads == for_one
