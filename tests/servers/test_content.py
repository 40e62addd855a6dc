"""A config file as it stands: keys given twice are found, in a time that does not grow with their square."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.servers import content


def test_keys_that_stand_twice_are_found_at_their_place(tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text('{"a": {"b": 1, "b": 2, "c": 3}, "a": {"c": 1, "c": 2}}')
    read = content.read(tmp_path / "file.json", tmp_path)
    assert [finding.key for finding in read.findings] == [("a",), ("a", "c")]
    assert read.data == {"a": {"c": 2}}


class Key(str):
    """A key that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Key.compared += 1
        return super().__eq__(other)

    __hash__ = str.__hash__


@pytest.mark.parametrize("doubled", [1, 1000], ids=["one key", "all keys"])
def test_doubled_keys_are_counted_in_one_pass(doubled: int) -> None:
    keys = [Key(index % max(doubled, 1)) for index in range(2000)]
    Key.compared = 0
    made = content._Object([(key, None) for key in keys])
    assert len(made.twice) == doubled
    assert Key.compared <= 10 * len(keys), "a count of each key in the list of all takes 4 million comparisons"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, json.dumps({"a": 10**300})], ids=len)
def test_what_no_parser_should_meet_is_one_finding(tmp_path: Path, text: str) -> None:
    (tmp_path / "file.json").write_text(text)
    (finding,) = content.read(tmp_path / "file.json", tmp_path).findings
    assert finding.defect == "no JSON"
    assert len(finding.message) < 300
