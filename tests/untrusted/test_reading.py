"""Files of anybody's: what is no regular file, too large, too deep or too long is refused, at once and in one line."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from autotune.untrusted import reading


@pytest.mark.parametrize("place", ["/dev/zero", "pipe", "."])
@pytest.mark.parametrize("read", [reading.read_json, reading.read_toml, reading.read_gzip_text])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, place: str, read: type) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises((ValueError, OSError)):
        read(tmp_path / place)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[" * 100_000, "levels deep"),
        ("[" * 66 + "]" * 66, "levels deep"),
        ("9" * 5000, "digits"),
        ("-" + "9" * 21, "digits"),
        ('{"%s": 1}' % ("9" * 5000), "digits"),
        (r'{"a": "\ud800"}', "surrogate"),
    ],
    ids=["very deep", "deep", "very long", "long", "key", "surrogate"],
)
def test_json_out_of_bounds_is_refused(text: str, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        reading.json_of(text)


def test_json_within_bounds_is_read() -> None:
    assert reading.json_of("[" * 64 + str(2**64 - 1) + "]" * 64)
    assert reading.json_of(r'{"a": "\ud83d\ude00"}') == {"a": "\U0001f600"}


@pytest.mark.parametrize(
    "text", ["a = " + "[\n" * 30_000, "a = " + "9" * 900, ".".join("a" * 600) + " = 1", "a = 1 #" + "x" * 1000]
)
def test_toml_out_of_bounds_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ValueError, match=r"levels|digits|characters"):
        reading.read_toml(tmp_path / "a.toml")


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "bomb.csv.gz", "wb", compresslevel=1) as file:
        for _ in range(65):
            file.write(bytes(1 << 20))
    with pytest.raises(ValueError, match="more than 67,108,864 bytes"):
        reading.read_gzip_text(tmp_path / "bomb.csv.gz")


@pytest.mark.parametrize("text", ["²", "1" * 10, "1.5", " 1", "+1", "", "\u0661"])
def test_only_plain_digits_spell_an_integer(text: str) -> None:
    with pytest.raises(ValueError, match="no integer"):
        reading.integer(text)
    assert reading.integer("-16") == -16
