"""Whose files are in a folder, and what vLLM does where a lookup misses or fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.servers.checking import Reader
from autotune.servers.lookup import Failure, Step
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
