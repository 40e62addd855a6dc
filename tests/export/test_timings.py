"""How much slower a config is than another, from several tables of times."""

from __future__ import annotations

import pytest

from autotune.export.timings import Timings


def test_the_race_is_believed_before_what_was_timed_alone() -> None:
    timings = Timings(({"a": 1.0, "b": 1.1}, {"a": 1.0, "b": 1.0, "c": 1.01}))
    assert timings.loss("b", "a") == pytest.approx(0.1)
    assert timings.loss("c", "a") == pytest.approx(0.01)
    assert timings.loss("d", "a") is None
