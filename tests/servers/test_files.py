from __future__ import annotations

import json
import stat
from pathlib import Path

import filelock
import pytest

from autotune.errors import AutotuneError, InputError
from autotune.servers import files

LEVELS = ("m", "k")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "line 1 column 2"),
        ("[]", "at the top: got list, allowed: an object"),
        ('{"x": {}}', "at the top: got m 'x', allowed: an integer"),
        ('{"016": {}}', "at the top: got m '016', allowed: an integer"),
        ('{"16": {"-1": {}}}', "at 16: got k '-1'"),
        ('{"16": {"1": 3}}', "at 16/1: got int, allowed: an object"),
        ('{"16": 3}', "at 16: got int, allowed: an object"),
        ('{"16": {"1": {"7": {"block_m": 16}}}}', "at 16/1: got an object in '7'"),
        ('{"16": {"block_m": 16}}', "at 16: got k 'block_m', allowed: an integer"),
    ],
)
def test_read_table_names_file_and_place(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        files.read_table(path, LEVELS)
    assert str(path) in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_read_table_drops_empty_objects(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"16": {}, "32": {"1": {}}, "64": {"1": {"block_m": 16}}}')
    assert files.read_table(path, LEVELS) == {("64", "1"): {"block_m": 16}}


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 200_000])
def test_read_json_survives_anything(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="no valid JSON"):
        files.read_json(path)


def test_read_json_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        files.read_json(tmp_path)


def test_table_text_orders_keys_as_numbers(tmp_path: Path) -> None:
    table: files.Table = {("128", "2"): {"b": 1, "a": 2}, ("16", "10"): {}, ("16", "9"): {"a": None}}
    content = json.loads(files.table_text(table))
    assert list(content) == ["16", "128"]
    assert list(content["16"]) == ["9", "10"]
    assert list(content["128"]["2"]) == ["b", "a"]


def test_write_all_leaves_only_the_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")
    (tmp_path / ".a.json.tmp").write_text("left by a killed export")
    files.write_all({tmp_path / "a.json": "A", tmp_path / "sub" / "b.json": "B"})
    assert {path.name: path.read_text() for path in tmp_path.rglob("*.json")} == {"a.json": "A", "b.json": "B"}
    assert not list(tmp_path.rglob("*.tmp"))
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) & stat.S_IRUSR


def test_write_all_replaces_nothing_unless_all_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match="cannot be written"):
        files.write_all({tmp_path / "a.json": "new", tmp_path / "file" / "b.json": "new"})
    assert (tmp_path / "a.json").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "file"]


def test_locked_creates_the_folder_and_lets_go(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    for _ in range(2):
        with files.locked(folder):
            assert folder.is_dir()


def test_locked_refuses_a_second_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOCK_TIMEOUT_S", 0)
    with (
        filelock.FileLock(tmp_path / files.LOCK_NAME),
        pytest.raises(AutotuneError, match="another export holds"),
        files.locked(tmp_path),
    ):
        pass


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_locked_refuses_what_is_no_folder(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"), files.locked(tmp_path / folder):
        pass
