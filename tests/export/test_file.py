"""What stands in a file is kept, replaced or refused, as the user says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.errors import InputError
from autotune.export.export import export
from autotune.servers import files, provenance
from tests.builders.exports import ALIAS, EXPAND, KEY, SHRINK, at, entry, expand, item, put, records, snapshot, table


def test_merge_keeps_other_shapes_verbatim(tmp_path: Path) -> None:
    foreign: files.Table = {("9", "3", "64", "4096", "16"): {"block_m": 32, "comment": "theirs"}}
    put(tmp_path, foreign)
    export([item(at("9", "1", "64", "4096", "16"))], tmp_path)
    assert table(tmp_path).items() >= foreign.items()
    assert ("9", "3", "64", "4096", "16") not in records(tmp_path)


def test_merge_replaces_the_same_shape(tmp_path: Path) -> None:
    put(tmp_path, {KEY: entry(16)})
    export([item()], tmp_path)
    assert table(tmp_path)[KEY] == entry(128)
    assert records(tmp_path)[KEY].replaced == entry(16)


def test_overwrite_drops_other_shapes_and_their_records(tmp_path: Path) -> None:
    export([item(at("9", "1", "64", "4096", "16")), item(expand())], tmp_path)
    export([item()], tmp_path, "overwrite")
    assert set(table(tmp_path)) == {KEY, ALIAS}
    assert set(records(tmp_path)) == {KEY, ALIAS}
    assert (tmp_path / EXPAND).exists()
    assert EXPAND in {record.file for record in provenance.read(tmp_path)}


def test_overwrite_does_not_read_the_old_file(tmp_path: Path) -> None:
    (tmp_path / SHRINK).write_text("{")
    export([item()], tmp_path, "overwrite")
    assert table(tmp_path)[KEY] == entry()


@pytest.mark.parametrize("content", ["{}", '{"5": {}}', '{"5": {"1": {"64": {"4096": {"16": {}}}}}}'])
def test_empty_objects_hold_no_entry(tmp_path: Path, content: str) -> None:
    (tmp_path / SHRINK).write_text(content)
    export([item()], tmp_path)
    assert table(tmp_path) == {KEY: entry(), ALIAS: entry()}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (SHRINK, '{"5": {"1": '),
        (SHRINK, "[]"),
        (SHRINK, '{"_meta": {}}'),
        (SHRINK, '{"5": {"1": {"64": {"4096": {"block_m": 16}}}}}'),
        (SHRINK, '{"5": {"1": {"64": {"4096": {"16": {"768": {"block_m": 16}}}}}}}'),
        (provenance.FILE_NAME, "{"),
        (provenance.FILE_NAME, '{"schema_version": 99, "entries": []}'),
        (provenance.FILE_NAME, '{"schema_version": 1, "entries": [{"file": "x"}]}'),
        (provenance.FILE_NAME, '{"schema_version": 1, "entries": [{"file": "x", "key": ["y"]}]}'),
        (provenance.FILE_NAME, '{"schema_version": 1}'),
        (provenance.FILE_NAME, "[1]"),
    ],
)
def test_malformed_files_stop_the_export_and_stay(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / file).write_text(content)
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=file) as error:
        export([item(expand()), item()], tmp_path)
    assert "\n" not in str(error.value)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("key", [[], ["4"], ["4", "1", "64", "4096", "16", "1"]])
def test_a_side_car_with_keys_of_another_depth_stops_the_export(tmp_path: Path, key: list[str]) -> None:
    export([item()], tmp_path)
    side_car = tmp_path / provenance.FILE_NAME
    content = json.loads(side_car.read_text())
    content["entries"][0]["key"] = key
    side_car.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"{provenance.FILE_NAME}.*got {len(key)} keys"):
        export([item()], tmp_path)
