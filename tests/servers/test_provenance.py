"""A side-car that anybody has edited is read, or refused in a line; no value in it brings a reader down."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from autotune.errors import InputError
from autotune.servers import places, provenance

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
VALUES = (5, -1, 1.5, 10**19, True, None, float("nan"), "x", "../x", "²", [], [None], [[]], {}, {"a": None})

Place = tuple[str | int, ...]


def places_in(node: Any, place: Place = ()) -> Iterator[Place]:
    """Lists every place in a JSON document, the whole of it first."""
    yield place
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in below:
        yield from places_in(child, (*place, name))


def put(document: Any, place: Place, value: Any) -> Any:
    """Returns a document with another value at a place."""
    if not place:
        return value
    changed = node = copy.deepcopy(document)
    for name in place[:-1]:
        node = node[name]
    node[place[-1]] = value
    return changed


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
