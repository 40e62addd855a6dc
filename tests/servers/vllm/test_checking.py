"""Whose files are in a folder, and what vLLM does where a lookup misses or fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autotune.contract import Call
from autotune.model.layers import ExpertLayer
from autotune.servers.checking import Reader
from autotune.servers.lookup import Failure, Lookup, Step
from autotune.servers.serving import Serving
from autotune.servers.vllm import facts
from autotune.servers.vllm.lookups import expert_shapes
from autotune.servers.vllm.server import VLLM


def test_a_reader_for_each_gpu_whose_files_are_there(tmp_path: Path) -> None:
    for name in ("NVIDIA_L4_SHRINK", "NVIDIA_H200_SHRINK", "NVIDIA_H200_EXPAND_TRUE", "autotune-provenance", "notes"):
        (tmp_path / f"{name}.json").write_text("{}")
    assert VLLM.checker.readers(tmp_path) == [Reader("NVIDIA_H200"), Reader("NVIDIA_L4")]


@pytest.mark.parametrize(
    ("level", "defect", "effect"),
    [
        ("k", "another shape's entry", "silent wrong shape"),
        ("n", "another shape's entry", "silent wrong shape"),
        ("i", "another shape's entry", "silent wrong shape"),
        ("max_loras", "another max_loras", "slower"),
    ],
)
def test_what_a_nearest_key_means(level: str, defect: str, effect: str) -> None:
    miss = VLLM.checker.miss(Step(level, 8, "16", "nearest"))
    assert miss is not None
    assert (miss.defect, miss.effect) == (defect, effect)
    assert f"looks up {level} 8 and takes the entr" in miss.message
    assert "of 16" in miss.message


def test_the_nearest_m_is_as_meant() -> None:
    assert VLLM.checker.miss(Step("m", 24, "16", "nearest")) is None


@pytest.mark.parametrize(
    ("level", "size", "effect"),
    [
        ("k", 512, "crash at start"),
        ("k", 513, "crash at request"),
        ("num_slices", 513, "crash at start"),
        ("file", 513, "crash at start"),
    ],
)
def test_only_what_is_not_captured_waits_for_a_batch(level: str, size: int, effect: str) -> None:
    assert VLLM.checker.crash(Failure("KeyError", level, None, ""), size) == effect


GATED = ExpertLayer(hidden=2048, intermediate=512, experts=64, top_k=2, fused=True, count=4)
WIDER = replace(GATED, intermediate=1024, count=2)


@pytest.mark.parametrize("layers", [(GATED, WIDER), (WIDER, GATED)])
def test_w2_is_compared_with_w13_of_its_own_experts(tmp_path: Path, layers: tuple[ExpertLayer, ...]) -> None:
    serving = Serving("vllm", tp=1, rank=128, max_loras=4)
    shapes = [shape for each in layers for shape in expert_shapes(each, serving)]

    def lookup(call: Call) -> Lookup:
        """Finds 32 rows for w2 of the wider experts, and 64 for all else."""
        block_m = 32 if (call.op, call.dims["i"]) == (facts.W2_SHRINK, WIDER.intermediate) else 64
        return Lookup("file", {"block_m": block_m}, path=tmp_path / f"{call.op}.json")

    (found,) = VLLM.checker.contradictions(tmp_path, shapes, 64, lookup)
    assert "i=2048" in found.key
    assert f"{WIDER.label}: block_m is 64, but 32" in found.message
    assert "i=1024" in found.message
