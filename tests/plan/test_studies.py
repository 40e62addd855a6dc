"""A plan has one study of each kernel for each of its lookups, however often it is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.storages import BaseStorage, InMemoryStorage

from autotune.contract.source import BUILTIN, SERVED
from autotune.model.shape import look_up
from autotune.plan import studies as plan_studies
from autotune.plan.describing import describe
from autotune.plan.plan import make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from autotune.servers.sglang.served_csgmv import ServedCsgmv
from autotune.study import overview
from autotune.study.describe import Request
from tests.builders.sglang_at_hand import machine

PLAN = make(look_up("Qwen3-8B"), Serving("sglang", 1, 16, 4), Batches(chunk_sizes=(16,)))


def created(storage: BaseStorage, name: str, *sources: str) -> list[tuple[str, Any]]:
    """Makes the plan's studies; returns sources and workloads of those that are then its."""
    requests = [Request(source=source, allow_unknown_server=True) for source in sources]
    plan_studies.create(storage, PLAN, name, describe(PLAN, requests), skip_if_exists=True)
    there = overview.of(storage)
    specs = [there.study(each).spec for each in there.of_plan(name)]
    return sorted((spec.source, spec.problem["workload"]) for spec in specs)


def test_a_study_leaves_the_plan_where_another_is_made_of_its_lookup(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As what a server's own kernels are timed on by default has changed; neither ours nor another plan's do."""
    storage = InMemoryStorage()
    with machine(monkeypatch, tmp_path / "site"):
        with monkeypatch.context() as older:
            older.setattr(ServedCsgmv, "flag_defaults", lambda self, flags: {})
            assert created(storage, "plan", SERVED) == [("sglang", "prefill")] * 7
            assert created(storage, "other", SERVED) == [("sglang", "prefill")] * 7
        ours = [("builtin", "prefill")] * 7
        assert created(storage, "plan", BUILTIN) == [*ours, *[("sglang", "prefill")] * 7]
        assert created(storage, "plan", SERVED, BUILTIN) == [*ours, *[("sglang", "mixed")] * 7]
        assert created(storage, "plan", BUILTIN) == [*ours, *[("sglang", "mixed")] * 7]
    there = overview.of(storage)
    assert len(there.ours) == 21
    assert len(there.of_plan("other")) == 7
