"""A side-car that anybody has edited is read, or refused in a line; no value in it brings a reader down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from autotune.errors import InputError
from autotune.servers import places, provenance
from tests.builders.malformed import Place, put
from tests.builders.malformed import places as places_in

KEY = ["4", "1", "16", "5120", "16"]
SOUND: dict[str, Any] = {
    "schema_version": provenance.SCHEMA_VERSION,
    "entries": [
        {
            "file": "NVIDIA_H200_SHRINK.json",
            "key": KEY,
            "kind": "dropped",
            "study": "s",
            "config": {"block_m": 16, "block_n": 16},
            "replaced": None,
            "provenance": {
                "source": "builtin",
                "shards": [1, 2],
                "dropped": {"kind": "own", "taken": KEY, "config": {"block_m": 16}, "loss": 0.1, "largest_loss": 0.1},
            },
        }
    ],
}
VALUES: list[Any] = [5, -1, 1.5, 10**19, True, None, float("nan"), "x", "../x", "²", [], [None], [[]], {}, {"a": None}]


def read(folder: Path, content: Any) -> list[provenance.Record]:
    """Writes a side-car and does with it what readers do."""
    (folder / provenance.FILE_NAME).write_text(json.dumps(content))
    found = provenance.read(folder)
    for record in found:
        assert isinstance(record.found, dict)
        assert record.undropped().kind in get_args(provenance.Kind)
        assert all(type(count) is int for count in record.shards)
    places.sources(folder)
    places.misplaced(folder)
    return found


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert [record.key for record in read(tmp_path, SOUND)] == [tuple(KEY)]


@pytest.mark.parametrize("place", [*places_in(SOUND)], ids=lambda place: "/".join(map(str, place)) or "all")
def test_any_value_anywhere_is_read_or_refused_in_a_line(tmp_path: Path, place: Place) -> None:
    for value in VALUES:
        try:
            read(tmp_path, put(SOUND, place, value))
        except InputError as error:
            assert provenance.FILE_NAME in str(error)
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("entries", 0, "file"), "../outside.json"),
        (("entries", 0, "key", 0), "-4"),
        (("entries", 0, "config", "block_m"), -16),
        (("entries", 0, "provenance", "dropped", "kind"), "dropped"),
        (("entries", 0, "provenance", "shards"), [0]),
    ],
)
def test_what_an_export_would_go_wrong_by_is_refused(tmp_path: Path, place: Place, value: Any) -> None:
    with pytest.raises(InputError, match="got a malformed entry"):
        read(tmp_path, put(SOUND, place, value))
