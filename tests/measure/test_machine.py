"""A machine is refused before any of its processes starts where it could keep no compiled kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.errors import InputError
from autotune.measure.machine import Machine


@pytest.mark.parametrize("folder", ["file", "file/triton"])
def test_a_cache_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    def start() -> None:
        raise AssertionError("a machine is being opened")

    monkeypatch.setattr("autotune.measure.machine.gpu_uuid", start)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="set AUTOTUNE_CACHE_DIR to another folder"):
        Machine(tmp_path / folder)


def test_a_cache_folder_is_made_where_there_is_none(tmp_path: Path) -> None:
    with Machine(tmp_path / "new" / "triton", compilers=1):
        assert (tmp_path / "new" / "triton").is_dir()
