"""What a run says before it begins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from autotune.cli.running import too_short
from autotune.study.study import KernelStudy

LAST = "the last of them"


def _studies(backend: str, count: int, group: str | None = None) -> list[KernelStudy]:
    spec = SimpleNamespace(backend=backend, group=group)
    return [cast(KernelStudy, SimpleNamespace(name=f"study {i}", spec=spec)) for i in range(count)]


def test_a_time_too_short_for_every_search_is_told_ahead() -> None:
    line = too_short(_studies("cuda", 85), 127.5, LAST)
    assert line is not None
    assert "1.5 s for each of 85 searches" in line
    assert line.endswith("too short for all, the last of them keep their default")
    assert too_short(_studies("cuda", 85), 170.0, LAST) is None


def test_a_group_is_one_search() -> None:
    assert too_short(_studies("cuda", 85, "experts"), 10.0, LAST) is None


def test_no_limit_and_replays_are_never_too_short() -> None:
    assert too_short(_studies("cuda", 85), None, LAST) is None
    assert too_short(_studies("replay", 85), 1.0, LAST) is None
    assert too_short([], 1.0, LAST) is None
