"""Which key is the nearest."""

from __future__ import annotations

from autotune.servers.lookup import nearest


def test_nearest_is_the_lower_of_two() -> None:
    assert nearest((32, 16), 24) == 16
    assert nearest((32, 16), 25) == 32
