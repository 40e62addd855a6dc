"""Our kernels by the real entry of vLLM's ops, wherever some release of vLLM can be imported, and else not.

    PYTHONPATH=.:SERVER python -m pytest --device cuda tests/servers/vllm/plugin/test_stand_in_dense.py

What is launched is fixed at the first call, as in a server's CUDA graph; then the metadata change under it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from autotune.contract import AnyKernel, registry
from autotune.kernels.common.metadata import LoraMetadata
from autotune.servers.vllm.plugin import register
from autotune.servers.vllm.served_modules import imported
from autotune.testing.problems import problems_of
from tests.builders.captured_call import captured

OPS = ("lora_shrink", "lora_expand")
MOST_FLOPS_INTERPRETED = 1e6


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Registers the plug-in in this process, and takes it out afterwards."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm cannot be imported here")
    from autotune.servers.vllm.plugin import override

    monkeypatch.setenv("LORA_AUTOTUNE_KERNELS", "1")
    register()
    assert all(map(override.is_overridden, OPS))
    yield
    override.restore()


def runnable(kernel: AnyKernel, device: str) -> list[Any]:
    found = list(problems_of(kernel))
    if device == "cuda":
        return found
    # Triton's interpreter multiplies bfloat16 as integers.
    small = [problem for problem in found if kernel.floor(problem).flops < MOST_FLOPS_INTERPRETED]
    return [problem for problem in small if getattr(problem, "dtype", "") == "float16"]


def mappings(problem: Any) -> Iterator[list[int]]:
    """Yields whose adapter each token has: mixed, one alone, fewer tokens than the graph has, one, none."""
    m, adapters = problem.m, problem.max_loras
    # The first token has one: a call without adapters would leave the graph empty.
    yield [(7 * token + 1) % (adapters + 1) - 1 for token in range(m)]
    yield [adapters - 1] * m
    yield [token % adapters for token in range((m + 1) // 2)]
    yield [0]
    yield [-1] * m


@pytest.mark.parametrize("specialized", [False, True], ids=["all groups", "active groups"])
@pytest.mark.parametrize("op", OPS)
def test_a_captured_call_follows_the_metadata(op: str, specialized: bool, device: str) -> None:
    kernel = registry.load(op)
    for problem in runnable(kernel, device):
        inputs: Any = kernel.make_inputs(problem, device, 0)
        arguments = getattr(inputs, "arguments", inputs)
        meta = imported("lora_kernel_metadata").LoRAKernelMeta.make(problem.max_loras, problem.m, device)
        first, *others = mappings(problem)
        meta.prepare_tensors(torch.tensor(first, dtype=torch.int32))
        again = captured(call_of(op, arguments, meta.meta_args(problem.m, specialized)), device)
        for mapping in (first, *([] if specialized else others)):
            meta.prepare_tensors(torch.tensor(mapping, dtype=torch.int32))
            # As in a replay, which knows of no flag.
            meta.no_lora_flag_cpu[0] = False
            changed = with_mapping(inputs, mapping, problem)
            kernel.poison(changed)
            again()
            expected = kernel.reference(changed, torch.float64)
            error = (arguments.out.double() - expected.value).abs()
            assert bool((error <= expected.bound({})).all()), (problem, mapping)


@pytest.mark.parametrize(("op", "cache"), [(OPS[0], "_LORA_A_PTR_DICT"), (OPS[1], "_LORA_B_PTR_DICT")])
def test_the_servers_own_tables_are_uploaded_with_ours(op: str, cache: str, device: str) -> None:
    """Its kernel may meet the weights in a capture, which captures no upload for others."""
    problem: Any = next(each for each in runnable(registry.load(op), device) if each.num_slices > 1)
    inputs: Any = registry.load(op).make_inputs(problem, device, 0)
    arguments = getattr(inputs, "arguments", inputs)
    meta = imported("lora_kernel_metadata").LoRAKernelMeta.make(problem.max_loras, problem.m, device)
    meta.prepare_tensors(torch.zeros(problem.m, dtype=torch.int32))
    tables = getattr(imported("utils"), cache)
    tables.clear()
    call_of(op, arguments, meta.meta_args(problem.m, False))()
    assert list(tables) == [tuple(weight.data_ptr() for weight in (arguments.a if op == OPS[0] else arguments.b))]


def with_mapping(inputs: Any, mapping: list[int], problem: Any) -> Any:
    """Returns inputs over the same tensors, whose tokens use other adapters; those that are not there use none."""
    arguments = getattr(inputs, "arguments", inputs)
    every = torch.tensor(mapping + [-1] * (problem.m - len(mapping)))
    metadata = replace(LoraMetadata.build(every, problem.max_loras, arguments.x.device), no_lora=False)
    changed = replace(arguments, metadata=metadata)
    return changed if arguments is inputs else replace(inputs, arguments=changed)


def call_of(op: str, arguments: Any, metadata: tuple[torch.Tensor, ...]) -> Callable[[], object]:
    """Returns the call that the server makes, by its own entry."""
    a = arguments
    entry = getattr(torch.ops.vllm, op)
    if op == "lora_shrink":
        return lambda: entry(a.x, [_stacked(w) for w in a.a], a.out, *metadata, a.scaling)
    return lambda: entry(
        a.x, [_stacked(w) for w in a.b], a.out, *metadata, offset_start=a.offset, add_inputs=a.add_inputs
    )


def _stacked(weight: torch.Tensor) -> torch.Tensor:
    return weight if weight.ndim == 4 else weight.unsqueeze(1)


@pytest.mark.parametrize("op", OPS)
def test_no_adapter_in_use_leaves_the_output_alone(op: str, device: str) -> None:
    kernel = registry.load(op)
    problem: Any = runnable(kernel, device)[0]
    inputs: Any = kernel.make_inputs(problem, device, 0)
    arguments = getattr(inputs, "arguments", inputs)
    meta = imported("lora_kernel_metadata").LoRAKernelMeta.make(problem.max_loras, problem.m, device)
    meta.prepare_tensors(torch.full((problem.m,), -1, dtype=torch.int32))
    before = arguments.out.clone()
    call_of(op, arguments, meta.meta_args(problem.m, False))()
    assert torch.equal(arguments.out, before)
