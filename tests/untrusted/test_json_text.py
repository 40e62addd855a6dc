"""JSON without numbers that it lacks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autotune.untrusted.json_text import json_text


@pytest.mark.parametrize(
    ("data", "read"),
    [
        ({"a": float("nan"), "b": [1.5, float("inf")]}, {"a": "NaN", "b": [1.5, "Infinity"]}),
        ((float("-inf"), None, True, "x"), ["-Infinity", None, True, "x"]),
        ({"k": {"m": (1, 2)}}, {"k": {"m": [1, 2]}}),
    ],
)
def test_every_reader_takes_it(data: Any, read: Any) -> None:
    assert json.loads(json_text(data), parse_constant=lambda name: pytest.fail(name)) == read
