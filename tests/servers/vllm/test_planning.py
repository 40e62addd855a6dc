"""What the installed server is asked for a plan is asked at the same time: it takes seconds to load each time."""

from __future__ import annotations

from threading import Barrier
from typing import Any

import pytest

from autotune.model.shape import look_up
from autotune.servers.batches import Batches
from autotune.servers.planning import ReadOff
from autotune.servers.serving import Serving
from autotune.servers.vllm import planning


def test_classes_and_captured_sizes_are_asked_for_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # Either question waits for the other one to be asked.
    asked, reached = Barrier(2, timeout=10), list[str]()

    def read_off(*_: object) -> ReadOff:
        asked.wait()
        reached.append("classes")
        return ReadOff((), (), None)

    def captured_by(_: Any) -> tuple[int, ...]:
        asked.wait()
        reached.append("captured")
        return (1,)

    monkeypatch.setattr("autotune.servers.vllm.from_server.road.read_off", read_off)
    monkeypatch.setattr(planning, "captured_by", captured_by)
    serving = Serving("vllm", tp=1, rank=16, max_loras=4)
    assert planning.VllmPlanner().read_off(look_up("Qwen3-8B"), serving, Batches()) == ReadOff((), (), None)
    assert sorted(reached) == ["captured", "classes"]
