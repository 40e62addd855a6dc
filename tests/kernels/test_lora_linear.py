"""The pair's semantics that the conformance suite cannot see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from autotune.contract.gpu import H200
from autotune.contract.space import Space
from autotune.kernels.common.metadata import LoraMetadata
from autotune.kernels.common.tiles import row_tiles
from autotune.kernels.lora_expand.launcher import LoraExpandArguments
from autotune.kernels.lora_linear import lora_linear
from autotune.kernels.lora_linear.kernel import LoraLinear
from autotune.kernels.lora_linear.launcher import LoraLinearArguments, PairWorkspace, pair_launches
from autotune.kernels.lora_linear.problem import LoraLinearProblem
from autotune.kernels.lora_linear.reference import reference
from autotune.kernels.lora_shrink.launcher import LoraShrinkArguments
from autotune.servers.vllm.linear import APART
from tests.builders.dense_lora import half_dtypes
from tests.builders.refusals import assert_refused_in_a_line

CONFIG = {
    "block_m": 16,
    "block_n": 32,
    "block_k": 64,
    "block_r": 16,
    "split_k": 2,
    "num_warps": 2,
    "num_stages": 2,
    "launches": 1,
}
MAPPING = [2, -1, 0, 2, 2, -1, 2, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
LORAS, K, RANK = 3, 200, 24
FLAGS = {"dtype": "half", "m": 16, "hidden_size": 4096, "lora_rank": 16, "num_loras": 4}


@pytest.fixture
def make(device: str) -> Callable[..., LoraLinearArguments]:
    def make(
        widths: tuple[int, ...] = (48, 16),
        mapping: list[int] = MAPPING,
        dtype: torch.dtype = torch.float16,
        add_inputs: bool = True,
        offset: int = 0,
        workspace: PairWorkspace | None = None,
    ) -> LoraLinearArguments:
        torch.manual_seed(0)
        m = len(mapping)
        metadata = LoraMetadata.build(torch.tensor(mapping, dtype=torch.long), LORAS, device)
        x = torch.randn(m, K, dtype=dtype, device=device)
        a = [torch.randn(LORAS, 1, RANK, K, device=device).mul_(K**-0.5).to(dtype) for _ in widths]
        b = [torch.randn(LORAS, 1, width, RANK, dtype=dtype, device=device) for width in widths]
        buffer = torch.full((len(widths), m, RANK), torch.nan, device=device)
        out = torch.randn(m, offset + sum(widths) + 8, dtype=dtype, device=device)
        return LoraLinearArguments(
            LoraShrinkArguments(x, a, buffer, metadata, scaling=0.5),
            LoraExpandArguments(buffer, b, out, metadata, add_inputs, offset),
            workspace or poisoned(device),
        )

    return make


def poisoned(device: str) -> PairWorkspace:
    workspace = PairWorkspace.make(100_000, 32, device)
    workspace.parts.fill_(torch.nan)
    return workspace


def check(arguments: LoraLinearArguments, config: dict[str, int] = CONFIG) -> torch.Tensor:
    """Runs, and compares with the reference; what is no adapter's column or row must not change."""
    out, mapping = arguments.expand.out, arguments.shrink.metadata.token_lora_mapping
    before = out.clone()
    expected = reference(arguments, before, torch.float64)
    lora_linear(arguments, config)
    assert bool(((out.double() - expected.value).abs() <= expected.bound(config)).all())
    untouched = torch.ones_like(before, dtype=torch.bool)
    first = arguments.expand.offset
    untouched[mapping >= 0, first : first + sum(arguments.expand.widths)] = False
    assert torch.equal(out[untouched], before[untouched])
    assert not arguments.workspace.arrivals.any(), "the next launch needs counters of zero"
    return out.clone()


@pytest.mark.parametrize("launches", [1, 2])
@pytest.mark.parametrize("add_inputs", [True, False])
@pytest.mark.parametrize("widths", [(40,), (48, 48), (48, 16, 16), (9, 33)], ids=str)
def test_widths_ragged_adapters_and_base_tokens(
    make: Any, device: str, widths: tuple[int, ...], add_inputs: bool, launches: int
) -> None:
    for dtype in half_dtypes(device):
        check(make(widths, dtype=dtype, add_inputs=add_inputs), {**CONFIG, "launches": launches})


@pytest.mark.parametrize("mapping", [[0], [-1, 1], [1] * 16, [1] * 33, [0, 1, 2] * 11], ids=str)
@pytest.mark.parametrize("rows", [16, 32])
def test_other_token_mixes(make: Any, mapping: list[int], rows: int) -> None:
    """Each of one tile of all rows, or of tiles that are counted."""
    for launches in (1, 2):
        check(make(mapping=mapping), {**CONFIG, "block_m": rows, "launches": launches})


@pytest.mark.parametrize("change", [{"split_k": 1}, {"split_k": 4}, {"block_r": 32}, {"num_warps": 1}, APART], ids=str)
def test_other_configs(make: Any, change: dict[str, int]) -> None:
    check(make(offset=16), {**CONFIG, **change})


def test_strided_x(make: Any) -> None:
    arguments = make()
    x = arguments.shrink.x
    wide = torch.cat([x, x], dim=1)
    check(replace(arguments, shrink=replace(arguments.shrink, x=wide[:, :K])))
    check(replace(arguments, shrink=replace(arguments.shrink, x=x.T.contiguous().T)))


def test_one_workspace_serves_launches_of_any_shape_and_config(make: Any, device: str) -> None:
    workspace = poisoned(device)
    first = make(workspace=workspace)
    one = check(first)
    check(make((96,), [0, 1] * 9, workspace=workspace), {**CONFIG, "split_k": 4})
    check(make((8, 8, 8), [2], workspace=workspace))
    assert torch.equal(check(make(workspace=workspace)), one), "sums must repeat bit by bit"


@pytest.mark.parametrize("change", [{}, {"launches": 2}, {"launches": 2, "block_m": 32}], ids=str)
def test_a_launch_follows_the_metadata_that_it_finds(make: Any, device: str, change: dict[str, int]) -> None:
    """A captured launch is replayed over other adapters, fewer tokens, or none."""
    arguments = make(mapping=[0, 1, 2] * 8)
    launches = pair_launches(arguments, {**CONFIG, **change})
    metadata = arguments.shrink.metadata
    for mapping in ([2] * 24, [-1] * 24, [1, -1] * 12, [0] * 5 + [-1] * 19, [2, 1, 0] * 8):
        built = LoraMetadata.build(torch.tensor(mapping), LORAS, device)
        for name in ("token_lora_mapping", "token_indices_sorted_by_lora_ids", "num_tokens_per_lora"):
            getattr(metadata, name).copy_(getattr(built, name))
        metadata.lora_token_start_loc.copy_(built.lora_token_start_loc)
        metadata.lora_ids.copy_(built.lora_ids)
        expected = reference(arguments, arguments.expand.out.clone(), torch.float64)
        arguments.workspace.parts.fill_(torch.nan)
        for launch in launches:
            launch.run()
        error = (arguments.expand.out.double() - expected.value).abs()
        assert bool((error <= expected.max_error).all())
        assert not arguments.workspace.arrivals.any()


@pytest.mark.parametrize("launches", [1, 2])
def test_rows_beyond_the_batch_have_an_adapter_of_an_earlier_one(make: Any, device: str, launches: int) -> None:
    """A server writes the mapping of the tokens that there are, and leaves what is beyond as it was."""
    arguments = make(mapping=[0, 1, 2] * 4)
    metadata, out = arguments.shrink.metadata, arguments.expand.out
    fewer = LoraMetadata.build(torch.tensor([1, 2, -1, 1]), LORAS, device)
    metadata.token_lora_mapping[:4] = fewer.token_lora_mapping
    metadata.token_indices_sorted_by_lora_ids[:4] = fewer.token_indices_sorted_by_lora_ids
    for name in ("num_tokens_per_lora", "lora_token_start_loc", "lora_ids"):
        getattr(metadata, name).copy_(getattr(fewer, name))
    before = out.clone()
    lora_linear(arguments, {**CONFIG, "launches": launches})
    changed = (out != before).any(dim=1).tolist()
    assert changed == [True, True, False, True, *[False] * 8]


@pytest.mark.parametrize("change", [{}, {"launches": 2}, {"launches": 2, "block_m": 32}], ids=str)
def test_nothing_out_of_use_is_read_where_fewer_groups_are_launched(make: Any, change: dict[str, int]) -> None:
    """As a server launches that specializes in how many adapters a batch uses."""
    arguments = make(mapping=[1, -1, 1, 1] * 6)
    shrink, expand = arguments.shrink, arguments.expand
    shrink.x[shrink.metadata.token_lora_mapping < 0] = torch.nan
    for weight in (*shrink.a, *expand.b):
        weight[[0, 2]] = torch.nan
    check(
        replace(arguments, shrink=replace(shrink, metadata=replace(shrink.metadata, launched_groups=2))),
        {**CONFIG, **change},
    )


def test_nothing_to_do(make: Any) -> None:
    assert lora_linear(make(mapping=[]), CONFIG).shape == (0, 72)
    check(make(mapping=[-1, -1]))


def test_any_mix_of_tokens_fits_the_tiles() -> None:
    generator = torch.Generator().manual_seed(0)
    for m in (1, 5, 16, 33, 64):
        for _ in range(50):
            mapping = torch.randint(-1, 4, (m,), generator=generator)
            tokens = torch.bincount(mapping[mapping >= 0], minlength=1)
            assert sum(-(-int(count) // 16) for count in tokens) <= row_tiles(m, 4, 16)
    assert row_tiles(64, 1, 16) == 4


def test_a_small_workspace_and_unequal_ranks_are_refused(make: Any, device: str) -> None:
    arguments = make(workspace=PairWorkspace.make(100, 32, device))
    with pytest.raises(ValueError, match="the workspace holds 100 elements and 32 groups"):
        pair_launches(arguments, CONFIG)
    with pytest.raises(ValueError, match="B must be 2 weights of rank 24"):
        other = replace(arguments.expand, b=[b[..., :16].contiguous() for b in arguments.expand.b])
        replace(arguments, expand=other)


def test_flags() -> None:
    problem = LoraLinear().problem_from_flags(FLAGS | {"num_slices": 3, "slice_widths": "4096,1024,1024"})
    assert problem == LoraLinearProblem("float16", 16, 4096, 4096, 3, 4, slice_widths=(4096, 1024, 1024), lora_rank=16)
    assert problem.label == "m16-k4096-n4096-s3-l4-float16-w4096x1024x1024-r16"
    assert LoraLinear().problem_from_flags(FLAGS | {"hidden_size": 512}).slice_widths == (512,)
    call = LoraLinear().call(problem)
    assert call.dims == {"max_loras": 5, "num_slices": 3, "m": 16, "k": 4096, "rank": 16, "n": 4096}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_slices": 3, "slice_widths": "4096,1024"}, r"slice_widths: got \[4096, 1024\], allowed: num_slices=3"),
        ({"lora_rank": 48}, "lora rank: got 48"),
        ({"lora_rank": None}, "--lora-rank: not given"),
    ],
    ids=str,
)
def test_bad_flags(change: dict[str, Any], message: str) -> None:
    assert_refused_in_a_line(LoraLinear(), FLAGS | change, message)


@pytest.mark.parametrize("m", [1, 64])
@pytest.mark.parametrize(
    ("k", "widths", "rank"), [(4096, (4096, 1024, 1024), 16), (12288, (4096,), 512), (64, (48,), 8)]
)
def test_the_space_holds_pairs_and_the_launches_apart(m: int, k: int, widths: tuple[int, ...], rank: int) -> None:
    problem = LoraLinearProblem("bfloat16", m, k, max(widths), len(widths), 4, slice_widths=widths, lora_rank=rank)
    space = Space.build(LoraLinear(), problem, H200, "wide")
    assert space.incumbent == APART
    assert len(space) > 10
    pairs: Any = space.configs[1:]
    for config in pairs:
        assert config["block_k"] // config["num_warps"] >= 16
        assert 4 * config["split_k"] * config["block_m"] * rank <= 1 << 16


@pytest.mark.parametrize("num_slices", [1, 2, 3])
@pytest.mark.parametrize("rank", [8, 16, 32, 64, 128, 256, 320, 512])
@pytest.mark.parametrize("k", [64, 200, 4096, 28672])
def test_the_default_is_a_config_that_is_worth_a_try(k: int, rank: int, num_slices: int) -> None:
    """A space holds a kernel's own default in any case, so it says nothing of it."""
    problem = LoraLinearProblem("bfloat16", 16, k, 4096, num_slices, 4, lora_rank=rank)
    if (default := LoraLinear().own_default(problem, H200)) is not None:
        assert LoraLinear().infeasible(problem, default, H200) is None
        names = [each.name for each in LoraLinear().parameters(problem, "wide")]
        assert [*default] == names
    else:
        assert rank > (32 if num_slices == 1 else 64), "no wider one was timed"
