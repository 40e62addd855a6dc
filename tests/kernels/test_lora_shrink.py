"""Shrink's semantics that the conformance suite cannot see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.contract import Config, Gpu
from autotune.kernels.common import tiles
from autotune.kernels.common.metadata import LoraMetadata
from autotune.kernels.lora_shrink import launcher, lora_shrink
from autotune.kernels.lora_shrink.kernel import LoraShrink
from autotune.kernels.lora_shrink.launcher import LoraShrinkArguments
from autotune.kernels.lora_shrink.problem import LoraShrinkProblem
from tests.builders.dense_lora import LAUNCH, SHRINK, configs_launched, half_dtypes, products, serve_config
from tests.builders.refusals import assert_refused_in_a_line

CONFIG = SHRINK | LAUNCH
MAPPING = [2, -1, 0, 2, 2, -1, 2, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
FLAGS = {"dtype": "torch.float16", "batch_size": 16, "hidden_size": 5120, "lora_rank": 16, "num_loras": 4}


@pytest.fixture
def make(device: str) -> Callable[..., LoraShrinkArguments]:
    def make(mapping: list[int] = MAPPING, dtype: torch.dtype = torch.float16, slices: int = 2) -> LoraShrinkArguments:
        torch.manual_seed(0)
        m, k, n, loras = len(mapping), 72, 24, 3
        x = torch.randn(m, k, dtype=dtype, device=device)
        a = [torch.randn(loras, 1, n, k, dtype=dtype, device=device) for _ in range(slices)]
        out = torch.full((slices, m, n), torch.nan, device=device)
        return LoraShrinkArguments(
            x, a, out, LoraMetadata.build(torch.tensor(mapping, dtype=torch.long), loras, device)
        )

    return make


def assert_right(arguments: LoraShrinkArguments, mapping: list[int] = MAPPING) -> None:
    """Within the bound of README.md: K + K / 8 + 1 truncating additions."""
    a = [weight.flatten(1, 2) for weight in arguments.a]
    x = arguments.x.expand(len(a), -1, -1)
    right = arguments.scaling * products(x, a, mapping)
    magnitude = abs(arguments.scaling) * products(x.abs(), [weight.abs() for weight in a], mapping)
    additions = x.shape[2] + x.shape[2] // 8 + 2
    error = (torch.cat(list(arguments.out), dim=1).double() - right).abs()
    assert bool((error <= 1.001 * additions * 2**-23 * magnitude).all())


@pytest.mark.parametrize("split_k", [1, 2, 8])
@pytest.mark.parametrize("slices", [1, 3])
def test_ragged_adapters_and_base_tokens(make: Any, device: str, slices: int, split_k: int) -> None:
    for dtype in half_dtypes(device):
        arguments = make(dtype=dtype, slices=slices)
        out = lora_shrink(arguments, CONFIG | {"split_k": split_k})
        assert_right(arguments)
        assert bool((out[:, [1, 5]] == 0).all())


@pytest.mark.parametrize("split_k", [1, 2])
@pytest.mark.parametrize("block_n", [16, 32, 64, 128])
@pytest.mark.parametrize("slices", [1, 2, 3])
def test_tiles_wider_than_a_slice_go_on_in_the_next(make: Any, slices: int, block_n: int, split_k: int) -> None:
    arguments = make(slices=slices)
    lora_shrink(arguments, CONFIG | {"block_n": block_n, "split_k": split_k})
    assert_right(arguments)


@pytest.mark.parametrize("few_blocks", [0, 1 << 20], ids=["counted", "apart"])
@pytest.mark.parametrize("mapping", [[0], [-1, 1], [1] * 16, [0, 1, 2] * 11, [2] * 40 + [-1, 0]], ids=str)
def test_other_token_mixes(make: Any, mapping: list[int], few_blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "_FEW_BLOCKS", few_blocks)
    arguments = make(mapping)
    lora_shrink(arguments, CONFIG | {"group_size_m": 1, "split_k": 2})
    assert_right(arguments, mapping)


def test_single_split_is_bitwise_repeatable(make: Any, device: str) -> None:
    if device == "cpu":
        pytest.skip("Triton's interpreter runs blocks in one order")
    arguments = make()
    first = lora_shrink(arguments, CONFIG).clone()
    assert all(torch.equal(lora_shrink(arguments, CONFIG), first) for _ in range(5))


def test_scaling_and_strided_rows(make: Any) -> None:
    arguments = make()
    wide = torch.cat([arguments.x, arguments.x], dim=1)
    columns = arguments.x.T.contiguous().T
    for x in (wide[:, : arguments.x.shape[1]], columns):
        strided = replace(arguments, x=x, scaling=-0.5)
        lora_shrink(strided, CONFIG)
        assert_right(strided)


def test_nothing_to_do(make: Any) -> None:
    assert lora_shrink(make([]), CONFIG).shape == (2, 0, 24)
    assert lora_shrink(make([-1, -1]), CONFIG).isnan().all()  # as vLLM: no launch, no zeroing


def test_weights_of_another_type_are_refused(make: Any) -> None:
    arguments = make()
    with pytest.raises(ValueError, match=r"must be contiguous and torch\.float16"):
        replace(arguments, a=[weight.float() for weight in arguments.a])


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Config]]:
    yield from configs_launched(launcher, "shrink", monkeypatch)


def test_launcher_takes_vllms_default(make: Any, launched: list[Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_TUNED_CONFIG_FOLDER", raising=False)
    lora_shrink(make())
    assert (launched[0]["block_k"], launched[0]["split_k"]) == (256, 64)


def test_launcher_takes_the_tuned_file(
    make: Any, launched: list[Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments = make()
    serve_config(tmp_path, "Some_GPU_SHRINK.json", (4, 2, 16, 72, 24), CONFIG, monkeypatch)
    lora_shrink(arguments)
    assert launched[0]["block_k"] == CONFIG["block_k"]


def test_flags() -> None:
    problem = LoraShrink().problem_from_flags(FLAGS | {"seq_length": 2, "sort_by_lora_id": 0, "num_active_loras": 2})
    assert problem == LoraShrinkProblem("float16", 32, 5120, 16, 1, 4, 2, sort_by_lora_id=False)
    assert problem.label == "m32-k5120-n16-s1-l4-float16-a2-unsorted"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float32"}, "dtype: got 'float32', allowed: float16, bfloat16"),
        ({"dtype": None}, "--dtype: not given"),
        ({"batch_size": None}, "--batch-size: not given"),
        ({"hidden_size": None}, "--hidden-size: not given"),
        ({"lora_rank": None}, "--lora-rank: not given"),
        ({"num_loras": None}, "--num-loras: not given"),
        ({"lora_rank": 24}, "lora rank: got 24, allowed: 1, 8, 16"),
        ({"m": 0}, "m: got 0, allowed: 1 or more"),
        ({"num_active_loras": 5}, "active_loras: got 5, allowed: 1 to max_loras=4"),
        ({"num_active_loras": 0}, "--num-active-loras: got 0"),
        ({"sort_by_lora_id": 2}, "--sort-by-lora-id: got 2, allowed: 0 or 1"),
    ],
    ids=str,
)
def test_bad_flags(change: dict[str, Any], message: str) -> None:
    assert_refused_in_a_line(LoraShrink(), FLAGS | change, message)


def test_the_order_of_tiles_is_no_choice(gpu: Gpu) -> None:
    problem = LoraShrinkProblem("float16", 512, 4096, 32, 1, 4)
    assert LoraShrink().canonical(problem, CONFIG | {"group_size_m": 1}, gpu)["group_size_m"] == 8


@pytest.mark.parametrize(("slices", "widest"), [(1, 16), (2, 32), (3, 64)])
def test_tiles_may_be_as_wide_as_all_slices(slices: int, widest: int) -> None:
    problem = LoraShrinkProblem("float16", 512, 4096, 16, slices, 4)
    (block_n,) = (each for each in LoraShrink().parameters(problem, "wide") if each.name == "block_n")
    assert block_n.values[-1] == widest
    assert problem.column_tiles(widest) == 1
    assert problem.column_tiles(16) == slices


def test_one_split_is_always_offered(gpu: Gpu) -> None:
    kernel, problem = LoraShrink(), LoraShrinkProblem("float16", 16, 5120, 16, 1, 4)
    assert kernel.infeasible(problem, CONFIG, gpu) is None
    assert "one K step" in str(kernel.infeasible(problem, CONFIG | {"block_k": 1024, "split_k": 16}, gpu))


def test_recording_is_of_the_very_problem() -> None:
    problem = LoraShrinkProblem("float16", 16, 5120, 16, 1, 4)
    assert LoraShrink().recording(problem) == "vllm_shrink_M16_K5120_N16_L4_S1"
    assert LoraShrink().recording(replace(problem, active_loras=2)) is None
