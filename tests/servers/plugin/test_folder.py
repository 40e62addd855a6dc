"""Where the plug-in looks for configs, and what it says of that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.servers import places, provenance
from autotune.servers.plugin.folder import TunedFolder

SERVER = "SOME_SERVERS_FOLDER"
ENTRY = {"block_m": 16}


def fill(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(json.dumps({"5": {"1": ENTRY, "2": ENTRY}}))
    (folder / provenance.FILE_NAME).write_text('{"schema_version": 1, "entries": []}')
    return folder


def test_a_folder_of_its_own_goes_before_the_one_inside_the_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = fill(tmp_path / "server" / "autotune", "a.json")
    monkeypatch.setenv(SERVER, str(tmp_path / "server"))
    assert TunedFolder.of(SERVER) == TunedFolder(inside, f"{inside}, 2 configs in 1 files")
    own = fill(tmp_path / "own", "a.json", "b.json")
    monkeypatch.setenv(places.VARIABLE, str(own))
    assert TunedFolder.of(SERVER) == TunedFolder(own, f"{own}, 4 configs in 2 files")


def test_without_a_folder_it_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert TunedFolder.of(SERVER).about == f"none, since neither {places.VARIABLE} nor {SERVER} is set: defaults"
    monkeypatch.setenv(SERVER, str(tmp_path))
    assert TunedFolder.of(SERVER) == TunedFolder(None, f"none, since {SERVER}={tmp_path} has no autotune/: defaults")
    monkeypatch.setenv(places.VARIABLE, str(tmp_path / "gone"))
    assert TunedFolder.of(SERVER).about == f"none, since {places.VARIABLE}={tmp_path}/gone is no folder: defaults"


@pytest.mark.parametrize("content", ["{", "[]", '"text"', "{}", "9" * 5000])
def test_a_file_of_anybodys_counts_nothing(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text(content)
    monkeypatch.setenv(places.VARIABLE, str(tmp_path))
    assert TunedFolder.of(SERVER).about == f"{tmp_path}, 0 configs in 1 files"
