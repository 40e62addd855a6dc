"""Expand's semantics that the conformance suite cannot see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.contract import Config
from autotune.contract.gpu import H200, INTERPRETER
from autotune.kernels.common import tiles
from autotune.kernels.common.metadata import LoraMetadata
from autotune.kernels.lora_expand import launcher, lora_expand
from autotune.kernels.lora_expand.kernel import LoraExpand
from autotune.kernels.lora_expand.launcher import LoraExpandArguments
from autotune.kernels.lora_expand.problem import LoraExpandProblem
from tests.builders.dense_lora import EXPAND, LAUNCH, configs_launched, half_dtypes, products, serve_config
from tests.builders.refusals import assert_refused_in_a_line

CONFIG = EXPAND | LAUNCH
MAPPING = [2, -1, 0, 2, 2, -1, 2, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
FLAGS = {"dtype": "half", "m": 16, "hidden_size": 4096, "lora_rank": 16, "num_loras": 4, "num_slices": 3}


@pytest.fixture
def make(device: str) -> Callable[..., LoraExpandArguments]:
    def make(
        widths: tuple[int, ...] = (48, 16),
        mapping: list[int] = MAPPING,
        dtype: torch.dtype = torch.float16,
        add_inputs: bool = True,
        offset: int = 0,
    ) -> LoraExpandArguments:
        torch.manual_seed(0)
        m, rank, loras = len(mapping), 24, 3
        x = torch.randn(len(widths), m, rank, device=device)
        b = [torch.randn(loras, 1, width, rank, dtype=dtype, device=device) for width in widths]
        out = torch.randn(m, offset + sum(widths) + 8, dtype=dtype, device=device)
        metadata = LoraMetadata.build(torch.tensor(mapping, dtype=torch.long), loras, device)
        return LoraExpandArguments(x, b, out, metadata, add_inputs, offset)

    return make


def check(arguments: LoraExpandArguments, config: dict[str, int] = CONFIG) -> None:
    """Run, and compare with the bound of README.md; what is no adapter's column or row must not change."""
    mapping, dtype = arguments.metadata.token_lora_mapping.tolist(), arguments.out.dtype
    b = [weight.flatten(1, 2) for weight in arguments.b]
    x = arguments.x.to(dtype)
    added = products(x, b, mapping)
    magnitude = products(x.abs(), [weight.abs() for weight in b], mapping)
    before = arguments.out.clone()
    lora_expand(arguments, config)

    first, last = arguments.offset, arguments.offset + sum(arguments.widths)
    right = before.double()
    rows = [t for t, lora in enumerate(mapping) if lora >= 0]
    if not arguments.add_inputs:
        right[rows, first:last] = 0
    right[:, first:last] += added
    additions = x.shape[2] + x.shape[2] // 8 + 2
    bound = 1.001 * additions * 2**-23 * magnitude + torch.finfo(dtype).eps / 2 * right[:, first:last].abs() * 1.001
    error = (arguments.out.double() - right).abs()
    assert bool((error[:, first:last] <= bound + 2**-25).all())
    untouched = torch.ones_like(before, dtype=torch.bool)
    untouched[rows, first:last] = False
    assert torch.equal(arguments.out[untouched], before[untouched])


@pytest.mark.parametrize("add_inputs", [True, False])
@pytest.mark.parametrize("widths", [(40,), (48, 48), (48, 16, 16), (9, 33)], ids=str)
def test_widths_ragged_adapters_and_base_tokens(
    make: Any, device: str, widths: tuple[int, ...], add_inputs: bool
) -> None:
    for dtype in half_dtypes(device):
        check(make(widths, dtype=dtype, add_inputs=add_inputs))


@pytest.mark.parametrize("few_blocks", [0, 1 << 20], ids=["counted", "apart"])
@pytest.mark.parametrize("mapping", [[0], [-1, 1], [1] * 16, [0, 1, 2] * 11, [2] * 40 + [-1, 0]], ids=str)
def test_other_token_mixes(make: Any, mapping: list[int], few_blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "_FEW_BLOCKS", few_blocks)
    check(make(mapping=mapping))


@pytest.mark.parametrize("offset", [16, 7])
@pytest.mark.parametrize("widths", [(32,), (32, 16)], ids=str)
def test_offset(make: Any, offset: int, widths: tuple[int, ...]) -> None:
    check(make(widths, offset=offset))


def test_embedding_x_is_half_precision(make: Any) -> None:
    arguments = make((40,))
    check(replace(arguments, x=arguments.x.half()), CONFIG | {"num_stages": 3})


def test_strided_x(make: Any) -> None:
    arguments = make()
    for order in ((1, 0, 2), (0, 2, 1), (2, 1, 0)):
        back = tuple(order.index(dim) for dim in range(3))
        check(replace(arguments, x=arguments.x.permute(order).contiguous().permute(back)))


def test_large_tiles_read_the_output_late(make: Any) -> None:
    check(make((64,)), CONFIG | {"block_m": 32, "block_n": 64, "num_warps": 1})


def test_nothing_to_do(make: Any) -> None:
    assert lora_expand(make(mapping=[]), CONFIG).shape == (0, 72)
    check(make(mapping=[-1, -1]))


def test_outputs_of_another_type_are_refused(make: Any) -> None:
    arguments = make()
    with pytest.raises(ValueError, match=r"must be contiguous and torch\.float32"):
        replace(arguments, out=arguments.out.float())
    with pytest.raises(ValueError, match="contiguous rows"):
        replace(arguments, out=arguments.out.T.contiguous().T)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Config]]:
    yield from configs_launched(launcher, "expand", monkeypatch)


@pytest.mark.parametrize("add_inputs", [True, False])
def test_launcher_takes_the_tuned_file(
    make: Any, launched: list[Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, add_inputs: bool
) -> None:
    arguments = make(add_inputs=add_inputs)
    file = f"Some_GPU_EXPAND_{str(add_inputs).upper()}.json"
    serve_config(tmp_path, file, (4, 2, 16, 24, 48), CONFIG, monkeypatch)
    lora_expand(arguments)
    assert launched[0]["block_n"] == CONFIG["block_n"]


def test_launcher_takes_vllms_default(make: Any, launched: list[Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_TUNED_CONFIG_FOLDER", raising=False)
    lora_expand(make())
    assert launched[0]["block_n"] == 64


def test_flags() -> None:
    problem = LoraExpand().problem_from_flags(FLAGS | {"slice_widths": "4096,1024,1024", "expand_add_inputs": 0})
    assert problem == LoraExpandProblem("float16", 16, 16, 4096, 3, 4, 4, True, False, (4096, 1024, 1024))
    assert problem.label == "m16-k16-n4096-s3-l4-float16-overwrite-w4096x1024x1024"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slice_widths": "4096,1024"}, r"slice_widths: got \[4096, 1024\], allowed: num_slices=3"),
        ({"slice_widths": "1024,1024,1024"}, "the largest equal to n=4096"),
        ({"slice_widths": "a,b,c"}, "--slice-widths: got 'a,b,c', allowed: integers"),
        ({"expand_add_inputs": 2}, "--expand-add-inputs: got 2, allowed: 0 or 1"),
        ({"lora_rank": 48}, "lora rank: got 48"),
    ],
    ids=str,
)
def test_bad_flags(change: dict[str, Any], message: str) -> None:
    assert_refused_in_a_line(LoraExpand(), FLAGS | change, message)


def test_hopper_runs_one_stage() -> None:
    problem = LoraExpandProblem("float16", 16, 16, 5120, 1, 4)
    assert LoraExpand().canonical(problem, CONFIG | {"num_stages": 4}, H200)["num_stages"] == 1
    assert LoraExpand().canonical(problem, CONFIG | {"num_stages": 4}, INTERPRETER)["num_stages"] == 4


def test_recording_is_of_the_very_problem() -> None:
    problem = LoraExpandProblem("float16", 16, 16, 5120, 1, 4)
    assert LoraExpand().recording(problem) == "vllm_expand_M16_K16_N5120_L4_S1"
    assert LoraExpand().recording(replace(problem, add_inputs=False)) is None
