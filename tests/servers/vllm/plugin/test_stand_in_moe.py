"""Our one-shot kernel by the real entry of vLLM's experts, wherever some release of vLLM can be imported, and else not.

    PYTHONPATH=.:SERVER python -m pytest --device cuda tests/servers/vllm/plugin/test_stand_in_moe.py

What is launched is fixed at the first call, as in a server's CUDA graph; then tokens, adapters and experts change under
it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import torch
from triton.runtime.errors import InterpreterError

from autotune.contract import registry
from autotune.kernels.common.metadata import LoraMetadata
from autotune.kernels.fused_moe_lora.alignment import align
from autotune.kernels.fused_moe_lora.blocks import Batch
from autotune.kernels.fused_moe_lora.kernel import DownOneShot, GateUpOneShot
from autotune.kernels.fused_moe_lora.problem import MoeProblem
from autotune.kernels.fused_moe_lora.routing import Routing, random_routing
from autotune.measure.accuracy import worst_ratio
from autotune.servers.vllm.moe_paths import small_batch
from autotune.servers.vllm.plugin import register
from autotune.servers.vllm.served_modules import imported
from autotune.servers.vllm.served_moe import server_width, told_of_machine
from autotune.testing.problems import problems_of
from tests.builders.captured_call import captured

MODULE = "fused_moe_lora_op"
KERNELS = ("fused_moe_lora_gate_up_one_shot", "fused_moe_lora_down_one_shot")
MOST_FLOPS_INTERPRETED = 1e6

each_kernel = pytest.mark.parametrize("name", KERNELS)


@pytest.fixture(autouse=True)
def own_calls(monkeypatch: pytest.MonkeyPatch, device: str) -> Iterator[list[int]]:
    """Registers the plug-in in this process, and takes it out afterwards; returns the calls of the server's own."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm cannot be imported here")
    from autotune.servers.vllm.plugin import override

    calls: list[int] = []
    module = imported(MODULE)
    own = module._fused_moe_lora

    def noting(*args: Any) -> None:
        calls.append(len(args))
        own(*args)

    monkeypatch.setenv("LORA_AUTOTUNE_KERNELS", "moe")
    monkeypatch.setattr(module, "_fused_moe_lora", noting)
    register()
    assert override.is_overridden("fused_moe_lora")
    assert not override.is_overridden("lora_shrink")
    with told_of_machine(torch.device(device)):
        yield calls
    override.restore()


def runnable(name: str, device: str) -> list[MoeProblem]:
    kernel: Any = registry.load(name)
    found: list[Any] = list(problems_of(kernel))
    if device == "cuda":
        return found
    # Triton's interpreter multiplies bfloat16 as integers.
    return [p for p in found if p.dtype == "float16" and kernel.floor(p).flops < MOST_FLOPS_INTERPRETED]


def batches(problem: MoeProblem, device: str) -> Iterator[Routing]:
    """Yields choices of experts, with adapters mixed, one alone, one disabled, fewer tokens than captured, none."""
    m, adapters = problem.m, problem.max_loras
    mixed = [(7 * token + 1) % (adapters + 1) - 1 for token in range(m)]
    mappings = [mixed, [adapters - 1] * m, mixed, [token % adapters for token in range((m + 1) // 2)], [0], []]
    for seed, mapping in enumerate(mappings):
        every = torch.tensor(mapping + [-1] * (m - len(mapping)))
        found = random_routing(problem, seed)
        enabled = found.enabled.clone()
        enabled[-1] = int(seed != 2)
        ids = LoraMetadata.build(every, adapters, "cpu").lora_ids
        yield replace(found, token_lora_mapping=every.int(), lora_ids=ids, enabled=enabled).to(device)


class Layer:
    """One side of a layer, called by the server's wrapper over tensors that stay where they are, as in a graph.

    Args:
        block_m: What the server aligns to; nothing where the problem is naive.
    """

    def __init__(self, name: str, problem: MoeProblem, device: str, block_m: int) -> None:
        self.kernel: GateUpOneShot | DownOneShot = registry.load(name)  # type: ignore[assignment]
        self.problem, self.device, self.block_m = problem, device, block_m
        self.inputs = self.kernel.make_inputs(problem, device, 0)
        self.meta = imported("lora_kernel_metadata").LoRAKernelMeta.make(problem.max_loras, problem.m, device)
        self.weights = torch.empty(problem.m, problem.top_k, device=device)
        self.enabled = torch.zeros(problem.max_loras + 1, dtype=torch.int32, device=device)
        self.topk_ids = torch.zeros(problem.pairs, dtype=torch.int32, device=device)
        blocks = server_width(problem.pairs, problem.all_experts, block_m)
        shapes = ((problem.max_loras, blocks), (problem.max_loras, -(-blocks // block_m)), (problem.max_loras,))
        self.rows = [torch.zeros(shape, dtype=torch.int32, device=device) for shape in shapes]

    def fill(self, routing: Routing) -> None:
        """Writes a batch into the tensors."""
        self.meta.prepare_tensors(routing.token_lora_mapping)
        # As in a replay, which knows of no flag; without an adapter the server leaves the mapping as it was.
        self.meta.no_lora_flag_cpu[0] = False
        self.meta.token_lora_mapping[: self.problem.m] = routing.token_lora_mapping
        self.weights.copy_(routing.topk_weights)
        self.enabled[:-1] = routing.enabled
        self.topk_ids.copy_(routing.topk_ids.flatten())
        found = align(routing, self.block_m)
        sorted_ids, expert_ids, ends = self.rows
        sorted_ids.copy_(found.sorted_ids[:, : sorted_ids.shape[1]])
        expert_ids.copy_(found.expert_ids)
        ends.copy_(found.num_tokens_post_padded)

    def __call__(self, fully_sharded: bool = False) -> None:
        """Makes the call that the server's wrapper makes for ``add_lora_w13`` or ``add_lora_w2``."""
        a, p, meta = self.inputs.arguments, self.problem, self.meta
        rows = (None, self.topk_ids, None) if p.naive else self.rows
        tiles = (self.block_m, 64, 32, 8, 4, 3, 1)
        torch.ops.vllm.fused_moe_lora(
            *(a.out, a.x, a.a, a.b, self.weights, *rows, meta.token_lora_mapping[: p.m], p.rank, p.top_k),
            *(meta.active_lora_ids, meta.default_num_active_loras_cpu, self.enabled),
            *(*tiles, *tiles, a.routed, fully_sharded, 0, a.add_inputs),
        )

    def worst(self, routing: Routing, call: Any) -> float:
        """Returns the largest error over the allowed one, from an output of NaN wherever it is to be overwritten."""
        batch = Batch(routing, self.problem.naive, block_ms=())
        changed = replace(self.inputs, arguments=replace(self.inputs.arguments, batch=batch))
        self.kernel.poison(changed)
        expected = self.kernel.reference(changed, torch.float64)
        call()
        floor = replace(expected, max_error=expected.max_error.clamp_min(1e-30))
        return worst_ratio(self.inputs.arguments.out, floor, {})


def is_small(problem: MoeProblem) -> bool:
    return small_batch(problem.rank, problem.pairs, problem.naive)


@pytest.mark.parametrize("block_m", [16, 64])
@each_kernel
def test_a_captured_call_follows_tokens_adapters_and_experts(
    name: str, block_m: int, device: str, own_calls: list[int]
) -> None:
    for problem in runnable(name, device):
        if problem.naive and block_m != 16:
            continue
        layer = Layer(name, problem, device, block_m)
        first, *others = batches(problem, device)
        layer.fill(first)
        own_calls.clear()
        again = captured(layer, device)
        for routing in (first, *others):
            layer.fill(routing)
            assert layer.worst(routing, again) <= 1, (problem, routing)
        assert bool(own_calls) == is_small(problem)


@each_kernel
@pytest.mark.parametrize("full", [False, True])
def test_tall_blocks_that_are_full_are_the_servers_without_an_entry(
    name: str, full: bool, device: str, own_calls: list[int]
) -> None:
    problem = next(each for each in runnable(name, device) if not (each.naive or is_small(each)))
    if full:
        problem = replace(problem, m=128 * problem.num_experts // problem.top_k + 1)
    layer = Layer(name, problem, device, 128)
    layer.fill(next(batches(problem, device)))
    with suppress(InterpreterError):
        layer()
    assert bool(own_calls) == full


@each_kernel
def test_the_servers_own_tables_are_uploaded_with_ours(name: str, device: str, own_calls: list[int]) -> None:
    """Its kernels may meet the weights in a capture: few pairs are its small-batch kernel's."""
    problem = next(each for each in runnable(name, device) if not is_small(each))
    layer = Layer(name, problem, device, 16)
    layer.fill(next(batches(problem, device)))
    tables = imported(MODULE)._LORA_PTR_DICT
    tables.clear()
    layer()
    assert not own_calls
    a = layer.inputs.arguments
    assert list(tables) == [tuple(weight.data_ptr() for weight in side) for side in (a.a, a.b)]
    assert [table.tolist() for table in tables.values()] == [list(key) for key in tables]


@each_kernel
def test_a_block_without_an_expert_of_this_gpu_is_left_out(name: str, device: str, own_calls: list[int]) -> None:
    """Whether the server sorts other GPUs' pairs away, or into blocks of no expert."""
    for problem in runnable(name, device):
        if problem.ep == 1:
            continue
        layer = Layer(name, problem, device, 16)
        (routing, *_) = batches(problem, device)
        layer.fill(routing)
        found = align(replace(routing, num_experts=problem.all_experts, ep=1), 16)
        layer.rows[0].copy_(found.sorted_ids[:, : layer.rows[0].shape[1]])
        layer.rows[1].copy_(torch.where(found.expert_ids < problem.num_experts, found.expert_ids, -1))
        layer.rows[2].copy_(found.num_tokens_post_padded)
        assert layer.worst(routing, layer) <= 1, problem
    assert not own_calls


@each_kernel
def test_experts_that_share_a_matrix(name: str, device: str, own_calls: list[int]) -> None:
    problem = next(each for each in runnable(name, device) if not is_small(each))
    layer = Layer(name, problem, device, 16)
    a = layer.inputs.arguments
    shared = [weight[:, :1].contiguous().expand(-1, problem.num_experts, -1, -1) for weight in a.a]
    layer.inputs = replace(layer.inputs, arguments=replace(a, a=shared, tables=None))
    for routing in batches(problem, device):
        layer.fill(routing)
        assert layer.worst(routing, layer) <= 1
    assert not own_calls


def test_what_ours_are_not_proven_for_is_the_servers(device: str, own_calls: list[int]) -> None:
    name = KERNELS[1]
    problem = next(each for each in runnable(name, device) if not is_small(each) and each.add_inputs)
    routing = next(batches(problem, device))
    odd = [Layer(name, problem, device, 16) for _ in range(4)]
    for layer in odd:
        layer.fill(routing)
    strided, half, wider, sharded = odd
    object.__setattr__(strided.inputs.arguments, "x", strided.inputs.arguments.x.T.contiguous().T)
    half.weights = half.weights.half()
    wider.rows[1] = wider.rows[1][:, :-1]
    for count, (layer, options) in enumerate([(strided, False), (half, False), (wider, False), (sharded, True)], 1):
        # Triton's interpreter does not run all that older releases do; what counts is whose function is called.
        with suppress(InterpreterError):
            layer(options)
        assert len(own_calls) == count
    ours = Layer(name, problem, device, 16)
    ours.fill(routing)
    assert ours.worst(routing, ours) <= 1
    assert len(own_calls) == count


def test_no_adapter_in_use_leaves_the_output_alone(device: str, own_calls: list[int]) -> None:
    for name in KERNELS:
        for problem in runnable(name, device):
            layer = Layer(name, problem, device, 16)
            *_, nobody = batches(problem, device)
            layer.fill(nobody)
            before = layer.inputs.arguments.out.clone()
            layer()
            assert torch.equal(layer.inputs.arguments.out, before)
