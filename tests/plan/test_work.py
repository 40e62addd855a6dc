"""What tuning a plan takes: its studies by the source of their kernels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from autotune.contract import registry
from autotune.errors import NotInstalledError
from autotune.model.shape import look_up
from autotune.plan.by_source import left_to_server
from autotune.plan.plan import LARGE_STUDY_S, SMALL_STUDY_S, Plan, make
from autotune.plan.timed import all_timed_kernels
from autotune.plan.work import TuningWork, work_of
from autotune.servers.batches import Batches
from autotune.servers.places import SWITCH
from autotune.servers.serving import Serving
from autotune.servers.vllm import layer_classes
from tests.builders import served_vllm
from tests.builders.sglang_at_hand import machine

M = (16, 64, 4096)


@pytest.fixture(autouse=True)
def forget() -> None:
    """What was installed is asked anew."""
    registry._served.cache_clear()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(served_vllm.install(tmp_path / "site", "0.33.0"))
    monkeypatch.setattr(layer_classes, "KNOWN", served_vllm.layer_hashes())


def plan(name: str = "Qwen3-30B-A3B", rank: int = 16, **batches: Any) -> Plan:
    return make(look_up(name), Serving("vllm", tp=1, rank=rank, max_loras=4), Batches(m_values=M, **batches))


def counts(work: TuningWork) -> dict[tuple[str, str], int]:
    return dict(Counter((each.source, each.entry.kernel) for each in work.searched))


@pytest.mark.usefixtures("installed")
def test_both_sources_are_counted_each() -> None:
    for name in ("Qwen3-8B", "Qwen3-30B-A3B"):
        made = plan(name)
        served, ours, both = (work_of(made, wanted) for wanted in ("served", "builtin", "both"))
        assert counts(both) == {**counts(served), **counts(ours)}
        assert both.studies == served.studies + ours.studies
        assert len(both.raced) == len(served.raced) + len(ours.raced)
        assert both.seconds == served.seconds + ours.seconds
        assert {each.source for each in served.searched} == {"vllm"}
        assert {each.source for each in ours.searched} == {"builtin"}


@pytest.mark.usefixtures("installed")
def test_of_ours_are_those_that_the_plug_in_launches() -> None:
    work = work_of(plan(), "both")
    assert {kernel for source, kernel in counts(work) if source == "builtin"} == {"lora_shrink", "lora_expand"}
    # In the place of the experts' group, of w13 and of w2, once it is known what the server aligns to.
    assert Counter(each.entry.kernel for each in work.following) == {
        "aligned_moe_lora_gate_up": len(M),
        "aligned_moe_lora_down": len(M),
    }
    assert work_of(plan(rank=256), "both").following == [], "the plug-in leaves two kernels to the server"
    assert work_of(plan(), "served").following == []


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("batches", "paired"),
    [
        ({}, set()),
        ({"enforce_eager": True}, {m for m in M if m <= 64}),
        ({"cudagraph_capture_sizes": (1, 8)}, {m for m in M if 8 < m <= 64}),
    ],
    ids=["captured", "eager", "few captured"],
)
def test_pairs_are_tuned_for_batches_that_no_graph_is_captured_for(batches: dict[str, Any], paired: set[int]) -> None:
    searched = work_of(plan("Qwen3-8B", **batches), "builtin").searched
    assert {each.entry.call.dims["m"] for each in searched if each.entry.kernel == "lora_linear"} == paired


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("unknown", [False, True], ids=["switched off", "unknown layers"])
def test_pairs_are_tuned_for_captured_batches_where_no_shrink_runs_beside_the_product(
    monkeypatch: pytest.MonkeyPatch, unknown: bool
) -> None:
    if unknown:
        monkeypatch.setitem(layer_classes.KNOWN, layer_classes.APPLY, ("another",))
    else:
        monkeypatch.setenv(layer_classes.SWITCH, "0")
    searched = work_of(plan("Qwen3-8B"), "builtin").searched
    paired = {each.entry.call.dims["m"] for each in searched if each.entry.kernel == "lora_linear"}
    assert paired == {m for m in M if m <= 64}


def test_where_the_server_is_not_installed_nothing_is_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = work_of(plan("Qwen3-8B"), "auto")
    monkeypatch.setenv(SWITCH, "1")
    switched = work_of(plan("Qwen3-8B"), "auto")
    pairs = sum(each.entry.kernel == "lora_linear" for each in switched.searched)
    assert switched.studies == alone.studies + pairs
    assert len(switched.raced) == len(alone.raced)
    with pytest.raises(NotInstalledError, match="--source served"):
        work_of(plan(), "both")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("wanted", ["auto", "served", "builtin", "both"])
@pytest.mark.parametrize("rank", [16, 256])
def test_the_kernels_that_are_told_are_those_of_the_studies(wanted: str, rank: int) -> None:
    made = plan(rank=rank)
    work = work_of(made, wanted)
    told = {(each.choice.source, each.name) for each in all_timed_kernels(made, wanted)}
    counted = {(each.source, name) for each in (*work.searched, *work.following) for name in each.entry.members}
    assert told == counted


def test_what_is_left_to_the_server_is_told_where_nothing_else_is_tuned() -> None:
    (line,) = left_to_server(plan(rank=256), "builtin")
    assert line.startswith("fused_moe_lora: not tuned")
    assert "--source served" in line
    assert left_to_server(plan(rank=16), "builtin") == []
    assert left_to_server(plan(rank=256), "both") == []


@pytest.mark.parametrize(
    ("workload", "served_s", "ours_s"),
    [(None, LARGE_STUDY_S, SMALL_STUDY_S), ("prefill", SMALL_STUDY_S, SMALL_STUDY_S), ("mixed", *[LARGE_STUDY_S] * 2)],
)
def test_studies_of_prompts_and_decode_batches_take_longer(
    workload: str | None, served_s: float, ours_s: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = make(look_up("Qwen3-8B"), Serving("sglang", 1, 16, 4), Batches(workload=workload))
    with machine(monkeypatch, tmp_path / "site"):
        work = {source: work_of(made, source) for source in ("served", "builtin", "both")}
    assert work["served"].seconds == len(made.entries) * served_s
    assert work["builtin"].seconds == len(made.entries) * ours_s
    assert work["both"].seconds == work["served"].seconds + work["builtin"].seconds
