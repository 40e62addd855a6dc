"""Semantics, problems and space of the fused MoE LoRA kernels that the conformance suite cannot see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from autotune.contract import Config, Expected, Gpu
from autotune.contract.space import Space
from autotune.errors import InputError
from autotune.kernels.fused_moe_lora import moe_expand, moe_one_shot, moe_shrink
from autotune.kernels.fused_moe_lora.blocks import Batch
from autotune.kernels.fused_moe_lora.expand import MoeExpandArguments
from autotune.kernels.fused_moe_lora.kernel import (
    KERNELS,
    DownExpand,
    DownOneShot,
    DownShrink,
    GateUpExpand,
    GateUpShrink,
)
from autotune.kernels.fused_moe_lora.problem import MoeProblem
from autotune.kernels.fused_moe_lora.reference import expand_reference, one_shot_reference, shrink_reference
from autotune.kernels.fused_moe_lora.shrink import MoeShrinkArguments
from autotune.measure import accuracy
from tests.builders.moe_layers import EXPAND, SHRINK, Layer, make_routing
from tests.builders.refusals import assert_refused_in_a_line

CHOICES = [[0, 2], [2, 3], [0, 3], [3, 0], [2, 0], [0, 2], [3, 2], [0, 3]]
MAPPING = [1, -1, 0, 2, 1, 1, 0, 1]
ENABLED = [1, 1, 0]
ONE_SHOT = {"block_m": 16}
STEP = 64
FLAGS = {
    "dtype": "torch.float16",
    "batch_size": 16,
    "hidden_size": 2048,
    "lora_rank": 16,
    "num_loras": 4,
    "moe_intermediate_size": 768,
}
QWEN = MoeProblem("bfloat16", 64, 2048, 64, 768, 2, num_experts=128, top_k=8, max_loras=4)

each_batch = pytest.mark.parametrize("naive", [False, True], ids=["sorted", "naive"])
each_side = pytest.mark.parametrize("row_per_token", [True, False], ids=["gate_up", "down"])


@pytest.fixture
def layer(device: str, naive: bool, row_per_token: bool) -> Layer:
    routing = make_routing(CHOICES, MAPPING, ENABLED, 4, device)
    return Layer.random(Batch(routing, naive, block_ms=(16, 32)), 2 if row_per_token else 1, row_per_token)


def assert_within(out: torch.Tensor, value: torch.Tensor, bound: Expected, config: Config = SHRINK) -> None:
    assert bool(((out.double() - value).abs() <= bound.bound(config)).all())


@each_batch
@each_side
class TestOps:
    """Base tokens, a disabled adapter, an expert without tokens; values come pair by pair, bounds from README.md."""

    @pytest.mark.parametrize(
        "change",
        [{}, {"block_m": 32}, {"group_size_m": 1, "block_n": 32}, {"split_k": 2, "group_size_m": 1}, {"split_k": 8}],
        ids=str,
    )
    def test_shrink(self, layer: Layer, change: dict[str, int]) -> None:
        arguments, config = layer.shrink(), SHRINK | change
        out = moe_shrink(arguments, config)
        assert_within(out, layer.expected_shrink(), shrink_reference(arguments, torch.float64), config)
        assert bool((out[:, [1, 3]] == 0).all())

    @pytest.mark.parametrize(
        ("add_inputs", "change"),
        [
            (True, {}),
            (False, {}),
            (True, {"block_m": 32, "block_n": 64, "num_warps": 1}),
            (False, {"group_size_m": 1, "block_n": 16}),
            (True, {"block_k": 32}),
        ],
        ids=str,
    )
    def test_expand(self, layer: Layer, change: dict[str, int], add_inputs: bool) -> None:
        routed = len(layer.b) == 1
        x = layer.expected_shrink().half()
        arguments = layer.expand(x, add_inputs, routed)
        out = moe_expand(arguments, EXPAND | change)
        want = layer.expected(x, add_inputs, routed)
        assert_within(out, want, expand_reference(arguments, layer.start, torch.float64))
        assert torch.equal(out[[1, 3]], layer.start[[1, 3]])

    def test_both_paths_agree(self, layer: Layer) -> None:
        routed = len(layer.b) == 1
        arguments = layer.one_shot(routed=routed)
        want = layer.expected(layer.expected_shrink(), routed=routed)
        bound = one_shot_reference(arguments, layer.start, torch.float64)
        one = moe_one_shot(arguments, ONE_SHOT)
        two = moe_expand(layer.expand(moe_shrink(layer.shrink(), SHRINK), routed=routed), EXPAND)
        for out in (one, two):
            assert_within(out, want, bound)
            assert torch.equal(out[[1, 3]], layer.start[[1, 3]])

    def test_an_expert_dimension_of_stride_zero_shares_the_matrix(self, layer: Layer) -> None:
        shared = replace(layer, a=[a[:, :1].expand_as(a) for a in layer.a], b=[b[:, :1].expand_as(b) for b in layer.b])
        arguments = shared.one_shot()
        want = shared.expected(shared.expected_shrink())
        bound = one_shot_reference(arguments, layer.start, torch.float64)
        assert_within(moe_one_shot(arguments, ONE_SHOT), want, bound)
        assert_within(moe_expand(shared.expand(moe_shrink(shared.shrink(), SHRINK)), EXPAND), want, bound)


@each_batch
@pytest.mark.parametrize("row_per_token", [True])
def test_without_any_adapter_nothing_happens(device: str, layer: Layer, naive: bool) -> None:
    routing = make_routing(CHOICES, [-1, 2] * 4, ENABLED, 4, device)
    idle = replace(layer, batch=Batch(routing, naive, block_ms=(16,)))
    shrunk = moe_shrink(idle.shrink(), SHRINK)
    assert bool((shrunk == 0).all())
    for add_inputs in (True, False):
        assert torch.equal(moe_expand(idle.expand(shrunk, add_inputs), EXPAND), layer.start)
        assert torch.equal(moe_one_shot(idle.one_shot(add_inputs), ONE_SHOT), layer.start)


@pytest.mark.parametrize(("naive", "row_per_token"), [(False, True)])
def test_the_bound_of_splits_tells_right_from_wrong(layer: Layer) -> None:
    """With 16 splits a wrong expert still shows."""
    arguments = layer.shrink()
    bound = shrink_reference(arguments, torch.float64)
    swapped = replace(arguments, a=[a.roll(1, dims=1) for a in arguments.a])
    error = (moe_shrink(swapped, SHRINK).double() - bound.value).abs()
    assert (error > bound.bound(SHRINK | {"split_k": 16})).double().mean() > 0.5


@pytest.mark.parametrize("make", [GateUpShrink, DownShrink])
def test_one_split_is_not_allowed_the_roundings_of_sixteen(make: type[GateUpShrink | DownShrink]) -> None:
    """A lost last K step fails the gate, in the type of coarsest roundings and over a long sum."""
    problem = MoeProblem("bfloat16", 16, 8192, 16, 8192, 1, num_experts=2, top_k=1, max_loras=1)

    class LosesAStep(make):  # type: ignore[misc, valid-type]
        def run(self, inputs: MoeShrinkArguments, config: Config) -> torch.Tensor:
            x = inputs.x.clone()
            x[:, -STEP:] = 0
            # Triton's interpreter has no bfloat16 products.
            return shrink_reference(replace(inputs, x=x), torch.float64).value.to(inputs.out.dtype)

    kernel = LosesAStep()
    inputs = kernel.make_inputs(problem, "cpu", 0)
    want = accuracy.expected(kernel, inputs)
    assert accuracy.error_ratio(kernel, inputs, SHRINK, want) > 1
    assert accuracy.error_ratio(kernel, inputs, SHRINK | {"split_k": 16}, want) < 1


@pytest.mark.parametrize(("naive", "row_per_token"), [(False, True)])
def test_single_split_is_bitwise_repeatable(layer: Layer, device: str) -> None:
    if device == "cpu":
        pytest.skip("Triton's interpreter runs blocks in one order")
    first = moe_shrink(layer.shrink(), SHRINK)
    assert all(torch.equal(moe_shrink(layer.shrink(), SHRINK), first) for _ in range(3))


@pytest.mark.parametrize(("naive", "row_per_token"), [(False, True)])
def test_tensors_the_kernels_cannot_take_are_refused(layer: Layer) -> None:
    with pytest.raises(ValueError, match=r"weights must be torch\.float16, with contiguous matrices"):
        replace(layer, a=[a.float() for a in layer.a]).shrink()
    with pytest.raises(ValueError, match="equal strides"):
        replace(layer, b=[layer.b[0], layer.b[1][:, :1].expand_as(layer.b[1])]).one_shot()
    with pytest.raises(ValueError, match="x and out must be contiguous"):
        replace(layer, x=layer.x.T.contiguous().T).shrink()


def test_one_set_of_flags_makes_all_problems() -> None:
    problems = {kernel.name: kernel.problem_from_flags(FLAGS | {"num_slices": 2}) for kernel in KERNELS}
    gate_up = MoeProblem("float16", 16, 2048, 16, 768, 2, num_experts=8, top_k=2, max_loras=4)
    for name, problem in problems.items():
        assert problem == (gate_up if "gate_up" in name else replace(gate_up, num_slices=1))
    calls = [kernel.call(problems[kernel.name]) for kernel in KERNELS]
    assert [call.op.removeprefix("fused_moe_lora_") for call in calls] == [
        *("w13_shrink", "w13_expand", "w13_shrink"),
        *("w2_shrink", "w2_expand", "w2_shrink"),
    ]
    dims = {"max_loras": 4, "m": 16, "k": 16, "n": 2048, "i": 768}
    assert all(call.dims == {**dims, "num_slices": 2 if "w13" in call.op else 1} for call in calls)


def test_every_flag_counts() -> None:
    flags = dict[str, Any](num_experts=4, top_k_num=1, num_slices=1, num_active_loras=2, fully_sharded=1)
    flags |= {"tp": 2, "expand_add_inputs": 0, "routing": "zipf", "expert_counts": (3, 0, 1, 1), "seq_length": 2}
    problem = GateUpShrink().problem_from_flags(FLAGS | flags)
    assert problem == MoeProblem(
        *("float16", 32, 2048, 16, 768, 1, 4, 1, 4, 2),
        fully_sharded=True,
        tp=2,
        add_inputs=False,
        routing="zipf",
        expert_counts=(3, 0, 1, 1),
    )
    assert problem.label.startswith("m32-h2048-i768-r16-s1-e4-top1-l4-float16-a2-fs2-overwrite-ids")
    assert replace(problem, expert_counts=(3, 1, 1, 1)).label != problem.label
    assert replace(problem, expert_counts=()).label.endswith("-zipf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"moe_intermediate_size": None}, "--moe-intermediate-size: not given"),
        ({"dtype": "float32"}, "dtype: got 'float32'"),
        ({"lora_rank": 24}, "lora rank: got 24, allowed: 1, 8, 16"),
        ({"num_slices": 3}, "num_slices: got 3, allowed: 1 to 2; .* 1 for experts without a gate; .* not tuned yet"),
        ({"top_k_num": 9}, "top_k: got 9, allowed: 1 to 8; raise --num-experts"),
        ({"num_active_loras": 5}, "active_loras: got 5, allowed: 1 to 4"),
        ({"num_experts": 0}, "num_experts: got 0, allowed: 1 or more"),
        ({"routing": "random"}, "routing: got 'random', allowed: uniform, zipf"),
        ({"expert_counts": (1, 2)}, "expert_counts: got 2 counts"),
        ({"expert_counts": (-1, *[1] * 7)}, "the least -1"),
        ({"expert_counts": (9, *[0] * 7)}, "expert_counts: got 1 experts picked at all, allowed: top_k=2 or more"),
        ({"fully_sharded": 2}, "--fully-sharded: got 2, allowed: 0 or 1"),
        ({"tp": 2}, "tp: got 2, allowed: 1 unless fully sharded .*; add --fully-sharded or --ep"),
        ({"ep": 1}, "--ep: got no --tp of 2 or more"),
        ({"ep": 1, "tp": 2, "top_k_num": 17}, "top_k: got 17, allowed: 1 to 16; raise --num-experts"),
        ({"ep": 1, "tp": 2, "expert_counts": (1,) * 8}, "expert_counts: got 8 counts, .*num_experts=16"),
        ({"tp": 0, "fully_sharded": 1}, "tp: got 0, allowed: 1 or more"),
        ({"tp": 32, "fully_sharded": 1}, "tp: got 32, allowed: divisors of the rank 16; .* --lora-rank"),
        ({"tp": 16, "fully_sharded": 1, "hidden_size": 2056}, "allowed: divisors of the hidden 2056; .* --hidden-size"),
    ],
    ids=str,
)
def test_bad_flags(change: dict[str, Any], message: str) -> None:
    for kernel in (GateUpShrink(), DownExpand()):
        assert_refused_in_a_line(kernel, FLAGS | change, message)


def test_one_shot_is_refused_where_a_server_runs_two_kernels() -> None:
    kernel = DownOneShot()
    assert kernel.problem_from_flags(FLAGS | {"lora_rank": 128}).rank == 128
    with pytest.raises(InputError, match="--lora-rank: got 256, allowed: at most 128 for a one-shot"):
        kernel.problem_from_flags(FLAGS | {"lora_rank": 256})
    with pytest.raises(InputError, match="--fully-sharded: got 1, allowed: 0 for a one-shot"):
        kernel.problem_from_flags(FLAGS | {"fully_sharded": 1})


def test_naive_up_to_vllms_limit() -> None:
    """For Qwen3-30B-A3B (128 experts, top-8): as long as m is at most twice the adapters (contracts A7)."""
    assert replace(QWEN, m=8).naive
    assert not replace(QWEN, m=9).naive
    assert not replace(QWEN, m=8, fully_sharded=True).naive
    assert not replace(QWEN, m=1, num_experts=64, ep=2).naive


def test_problems_from_before_expert_parallelism_are_the_same(gpu: Gpu) -> None:
    assert "ep" not in QWEN.to_json() and "-ep" not in QWEN.label
    assert MoeProblem.from_json(QWEN.to_json()) == QWEN
    spread = replace(QWEN, num_experts=64, ep=2)
    assert spread.label.endswith("-ep2") and MoeProblem.from_json(spread.to_json()) == spread
    assert DownShrink().floor(spread).flops < 0.6 * DownShrink().floor(QWEN).flops
    assert DownShrink().floor(spread).bytes < 0.6 * DownShrink().floor(QWEN).bytes


def test_expert_parallel_flags() -> None:
    """As the plan's --ep: whole experts on each of --tp GPUs, sizes of one GPU."""
    problem = DownOneShot().problem_from_flags(FLAGS | {"tp": 2, "ep": 1, "num_experts": 64, "top_k_num": 8})
    assert (problem.ep, problem.tp, problem.num_experts, problem.all_experts) == (2, 1, 64, 128)
    both = DownShrink().problem_from_flags(FLAGS | {"tp": 2, "ep": 1, "fully_sharded": 1})
    assert (both.ep, both.tp, both.label[-8:]) == (2, 2, "-fs2-ep2")


def test_defaults_are_vllms(gpu: Gpu) -> None:
    launch = {"group_size_m": 8, "num_warps": 4, "num_stages": 3}
    shrink, expand = DownShrink(), DownExpand()
    for rank, block_n, block_k in ((64, 64, 32), (16, 16, 16), (320, 64, 32)):
        problem = replace(QWEN, rank=rank)
        blocks = {"block_m": 64, "block_n": block_n, "block_k": 32, "split_k": 1}
        assert shrink.default_config(problem, gpu) == blocks | launch
        assert expand.default_config(problem, gpu) == {"block_m": 64, "block_n": 64, "block_k": block_k} | launch


def test_what_the_rank_clips_is_clipped(gpu: Gpu) -> None:
    problem = replace(QWEN, rank=20)
    assert DownShrink().canonical(problem, SHRINK | {"block_n": 256}, gpu)["block_n"] == 32
    clipped = DownExpand().canonical(problem, EXPAND | {"block_k": 128, "num_stages": 5}, gpu)
    assert (clipped["block_k"], clipped["num_stages"]) == (32, 3)


def test_block_m_is_dead_for_naive_one_shot(gpu: Gpu) -> None:
    kernel = DownOneShot()
    assert [c["block_m"] for c in Space.build(kernel, replace(QWEN, m=8), gpu, "wide").configs] == [64]
    assert {c["block_m"] for c in Space.build(kernel, replace(QWEN, m=512), gpu, "wide").configs} == {16, 32, 64, 128}


def test_taller_blocks_only_where_they_save_blocks(gpu: Gpu) -> None:
    kernel = DownShrink()
    assert "as many blocks of 16" in str(kernel.infeasible(replace(QWEN, m=8), SHRINK | {"block_m": 32}, gpu))
    assert kernel.infeasible(replace(QWEN, m=64), SHRINK | {"block_m": 32}, gpu) is None


def test_floor_counts_the_experts_that_are_hit() -> None:
    kernel = DownShrink()
    one = MoeProblem("float16", 1, 2048, 64, 768, 1, num_experts=128, top_k=2, max_loras=8)
    assert kernel.floor(one).bytes == 2 * (2 * 768 + 2 * 64 * 768 + 2 * 64)
    assert kernel.floor(one).flops == 2 * 2 * 64 * 768
    assert DownExpand().floor(one).bytes == 2 * (2 * 64 + 2 * 64 * 2048 + 2 * 2 * 2048)


class TestFullySharded:
    """What t GPUs compute together is what one does alone: gathered or summed between shrink and expand (A6)."""

    T = 4
    SHRINK = SHRINK | {"block_k": 128}
    EXPAND = EXPAND | {"block_k": 32, "block_n": 64}

    def chunks(self, tensors: list[torch.Tensor], dim: int, gpu: int) -> list[torch.Tensor]:
        return [tensor.chunk(self.T, dim)[gpu].contiguous() for tensor in tensors]

    @pytest.fixture
    def whole(self, device: str, row_per_token: bool) -> Layer:
        routing = make_routing(CHOICES, MAPPING, ENABLED, 4, device)
        return Layer.random(Batch(routing, False, block_ms=(16,)), 2 if row_per_token else 1, row_per_token)

    @pytest.mark.parametrize("row_per_token", [True], ids=["gate_up"])
    def test_gate_up_gathers_the_rank(self, whole: Layer) -> None:
        gpus = range(self.T)
        h = torch.cat(
            [moe_shrink(replace(whole, a=self.chunks(whole.a, 2, g)).shrink(), self.SHRINK) for g in gpus], dim=3
        )
        assert_within(h, whole.expected_shrink(), shrink_reference(whole.shrink(), torch.float64))
        # [M, T, S, t, N / t]
        want = whole.expected(h).unflatten(2, (2, self.T, -1))  # type: ignore[no-untyped-call]
        start = whole.start.unflatten(2, (2, self.T, -1))  # type: ignore[no-untyped-call]
        for g in gpus:
            shard = replace(whole, b=self.chunks(whole.b, 2, g), start=start[:, :, :, g].flatten(2))
            arguments = shard.expand(h)
            out = moe_expand(arguments, self.EXPAND)
            assert_within(out, want[:, :, :, g].flatten(2), expand_reference(arguments, shard.start, torch.float64))

    @pytest.mark.parametrize("row_per_token", [False], ids=["down"])
    @pytest.mark.parametrize("add_inputs", [True, False], ids=["add", "overwrite"])
    def test_down_sums_over_the_depth_and_writes_its_columns(self, whole: Layer, add_inputs: bool) -> None:
        gpus = range(self.T)
        shards = [replace(whole, x=self.chunks([whole.x], 1, g)[0], a=self.chunks(whole.a, 3, g)) for g in gpus]
        partial = [shard.shrink() for shard in shards]
        h = sum(moe_shrink(each, self.SHRINK).double() for each in partial)
        bounds = [shrink_reference(each, torch.float64) for each in partial]
        assert bool(((h - whole.expected_shrink()).abs() <= sum(bound.max_error for bound in bounds)).all())

        x, width = whole.expected_shrink().half(), whole.b[0].shape[2] // self.T
        want = whole.expected(x, add_inputs, routed=True)
        out = whole.start.clone()
        for g in gpus:
            before = out.clone()
            b = self.chunks(whole.b, 2, g)
            arguments = MoeExpandArguments(x, b, out, whole.batch, add_inputs, routed=True, offset=g * width)
            bound = expand_reference(arguments, before, torch.float64)
            assert moe_expand(arguments, self.EXPAND) is out
            assert bool(((out.double() - bound.value).abs() <= bound.max_error).all())
            mine = slice(g * width, (g + 1) * width)
            assert_within(out[..., mine], want[..., mine], replace(bound, max_error=bound.max_error[..., mine]))
            assert torch.equal(out[..., mine.stop :], whole.start[..., mine.stop :])
        with pytest.raises(ValueError, match="no room for the columns from 40 on"):
            replace(arguments, offset=out.shape[2])

    def test_sizes_of_a_gpu(self, gpu: Gpu) -> None:
        """Qwen3-30B-A3B on two GPUs, rank 64 (contracts A7)."""
        problem = replace(QWEN, intermediate=384, fully_sharded=True, tp=2)
        calls = {kernel.name: kernel.call(problem).dims for kernel in KERNELS if "one_shot" not in kernel.name}
        both = {"max_loras": 4, "m": 64, "n": 2048, "i": 384}
        for op in ("shrink", "expand"):
            assert calls[f"fused_moe_lora_gate_up_{op}"] == {**both, "num_slices": 2, "k": 32}
            assert calls[f"fused_moe_lora_down_{op}"] == {**both, "num_slices": 1, "k": 64}
        gate_up, down = GateUpShrink().make_inputs(problem, "meta", 0), DownShrink().make_inputs(problem, "meta", 0)
        assert (gate_up.a[0].shape, gate_up.out.shape) == ((4, 128, 32, 2048), (2, 64, 8, 32))
        assert (down.a[0].shape, down.out.shape) == ((4, 128, 64, 384), (1, 64, 8, 64))
        up, back = (kernel.make_inputs(problem, "meta", 0).arguments for kernel in (GateUpExpand(), DownExpand()))
        assert (up.x.shape, up.b[0].shape, up.out.shape) == ((2, 64, 8, 64), (4, 128, 384, 64), (64, 8, 768))
        assert (back.x.shape, back.b[0].shape, back.out.shape) == ((1, 64, 8, 64), (4, 128, 1024, 64), (64, 8, 2048))
        assert (up.offset, back.offset) == (0, 1024)
        assert GateUpShrink().default_config(problem, gpu)["block_n"] == 32
        alone = replace(problem, tp=1)
        assert GateUpShrink().floor(problem).flops * 2 == GateUpShrink().floor(alone).flops
        assert DownExpand().floor(problem).flops * 2 == DownExpand().floor(alone).flops
        assert DownShrink().floor(problem) == DownShrink().floor(alone)
        assert GateUpExpand().floor(problem) == GateUpExpand().floor(alone)
        assert (problem.label, alone.label) == (f"{QWEN.label}-fs2".replace("i768", "i384"), problem.label[:-1])
        old = {name: value for name, value in alone.to_json().items() if name != "tp"}
        assert MoeProblem.from_json(old) == alone
