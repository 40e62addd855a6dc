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
    ],
)
def test_traffic_files(name: str, text: str) -> None:
    Path(name).write_text(text)
    assert traffic.read(Path(name)) == {16: 0.5, 512: 2.0}


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "{}", "3"),
        *('{"16": "x"}', '{"0": 1}', '{"16": 0}', '{"16": -1, "8": 2}', '{"16": Infinity}', '{"16": NaN, "8": 1}'),
        *('{"16.7": 1}', "[[16.7, 1]]", "[[true, 1]]"),
    ],
)
def test_traffic_files_that_make_no_sense(text: str) -> None:
    Path("t.json").write_text(text)
    with pytest.raises(InputError, match=r"--traffic: .*t\.json"):
        traffic.read(Path("t.json"))
