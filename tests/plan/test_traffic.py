"""Files of traffic: token counts and their weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.errors import InputError
from autotune.plan import traffic


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.json", json.dumps({"16": 0.5, "512": 2})),
        ("t.json", json.dumps([[16, 0.5], [512, 1], [512, 1]])),
        ("t.csv", "tokens,weight\n16,0.5\n512,2\n"),
        ("t.csv", "16, 0.5\n\n512, 2\n"),
        ("t.csv", "16.0,0.5\n512.0,2\n"),
        ("t.csv", "\ufeff16,0.5\n512,2\n"),
        ("t.csv", "\ufefftokens,weight\n16,0.5\n512,2\n"),
        ("t.csv", "16,0.5,\n512,2,\n"),
        ("t.json", "\ufeff" + json.dumps({"16": 0.5, "512": 2})),
    ],
)
def test_traffic_files(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")
    assert traffic.read(Path(name)) == {16: 0.5, 512: 2.0}


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "{}", "3"),
        *('{"16": "x"}', '{"0": 1}', '{"16": 0}', '{"16": -1, "8": 2}', '{"16": Infinity}', '{"16": NaN, "8": 1}'),
        *('{"16.7": 1}', "[[16.7, 1]]", "[[true, 1]]"),
        *('["16", "32"]', "[[16, 0.5, 1]]", "[16, 32]", '{"16": true}'),
    ],
)
def test_traffic_files_that_make_no_sense(text: str) -> None:
    Path("t.json").write_text(text)
    with pytest.raises(InputError, match=r"--traffic: .*t\.json"):
        traffic.read(Path("t.json"))


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("-16,0.7\n512,0.3\n", "-16 tokens"),
        ("1e3,0.7\n512,0.3\n", "'1e3'"),
        ("few,0.7\n512,0.3\n", "'few'"),
        ("16,0,7\n512,0,3\n", "'16', '0', '7'"),
        ("16\n512,1\n", "'16'"),
    ],
)
def test_no_row_of_a_csv_is_left_out_or_read_in_part(text: str, got: str) -> None:
    Path("t.csv").write_text(text)
    with pytest.raises(InputError, match=rf"--traffic: .*t\.csv.*{got}"):
        traffic.read(Path("t.csv"))
