"""The calls that a call of vLLM's dense ops is compiled ahead for, and what studies have of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from autotune.contract import Config, Launch, registry
from autotune.kernels.lora_expand.drop_in import DROP_IN as EXPAND
from autotune.kernels.lora_linear import drop_in as pair
from autotune.kernels.lora_shrink.drop_in import DROP_IN
from autotune.servers.vllm.plugin import metadata
from autotune.servers.vllm.plugin.drop_in import DenseCall

ADAPTERS = 4
GROUPS = ADAPTERS + 1


def call_of(groups: int) -> DenseCall:
    """Returns a shrink of eight tokens, for so many groups of them."""
    sizes = (8, 8, GROUPS, GROUPS + 1, GROUPS)
    tokens = [torch.zeros(size, dtype=torch.int32) for size in sizes]
    tokens += [torch.tensor([groups == 0]), torch.tensor([groups], dtype=torch.int32)]
    weights = [torch.zeros(ADAPTERS, 1, 16, 64, dtype=torch.float16)]
    return DenseCall(torch.zeros(8, 64, dtype=torch.float16), weights, torch.zeros(1, 8, 16), tokens, (1.0,))


@pytest.mark.parametrize(("groups", "compiled"), [(GROUPS, [GROUPS]), (0, [GROUPS, 1]), (2, [GROUPS, 1])])
def test_a_call_is_compiled_for_the_groups_that_later_ones_have(groups: int, compiled: list[int]) -> None:
    """One that no request has an adapter for has none of its own, where a server counts those in use."""
    found = DROP_IN.to_compile(call_of(groups), 32)
    assert [call.groups for call in found] == compiled
    assert {call.x.shape[0] for call in found} == {32}
    assert all(
        DROP_IN.launches(DROP_IN.arguments(call, None), DROP_IN.default_config(DROP_IN.arguments(call, None)))
        for call in found
    )


def test_a_call_on_meta_has_the_metadata_of_its_own_besides() -> None:
    one = call_of(2)
    found = one.on_meta(32)
    others = [i for i in range(metadata.COUNT) if i != metadata.GROUPS]
    assert all(torch.equal(found.metadata[i], one.metadata[i]) for i in others)
    assert int(one.metadata[metadata.GROUPS]) == 2
    assert replace(found, metadata=one.metadata).groups == 2


def told(batch: Any) -> tuple[torch.Tensor, ...]:
    """Returns the metadata that the server hands over for a study's batch."""
    index = (batch.token_lora_mapping, batch.token_indices_sorted_by_lora_ids, batch.num_tokens_per_lora)
    groups = torch.tensor([batch.lora_ids.numel()], dtype=torch.int32)
    return (*index, batch.lora_token_start_loc, batch.lora_ids, torch.tensor([batch.no_lora]), groups)


def one_adapter_wide(weights: list[torch.Tensor]) -> list[torch.Tensor]:
    """Returns the weights as the server has them, ``[L, 1, N, K]``."""
    return [each.unsqueeze(1) for each in weights]


def shrink_of(made: Any, config: Config) -> list[Launch]:
    call = DenseCall(made.x, one_adapter_wide(made.a), made.out, told(made.metadata), (1.0,))
    return DROP_IN.launches(DROP_IN.arguments(call, DROP_IN.table(call)), config)


def expand_of(made: Any, config: Config) -> list[Launch]:
    made = made.arguments
    call = DenseCall(made.x, one_adapter_wide(made.b), made.out, told(made.metadata), (0, True))
    return EXPAND.launches(EXPAND.arguments(call, EXPAND.table(call)), config)


def pair_of(made: Any, config: Config) -> list[Launch]:
    shrink, expand = made.arguments.shrink, made.arguments.expand
    weights = one_adapter_wide(shrink.a), one_adapter_wide(expand.b)
    call = pair.LinearCall.of(expand.out, shrink.x, *weights, told(shrink.metadata), (1.0, True))
    return pair.launches(pair.arguments(call, pair.tables(call), made.arguments.workspace), config)


SERVED = {"lora_shrink": shrink_of, "lora_expand": expand_of, "lora_linear": pair_of}


@pytest.mark.parametrize("m", [1, 33, 600])
@pytest.mark.parametrize("widths", [(48,), (48, 16, 16), (64, 64)], ids=str)
@pytest.mark.parametrize("name", SERVED)
def test_a_study_launches_what_the_plug_in_launches(device: str, name: str, widths: tuple[int, ...], m: int) -> None:
    kernel = registry.load(name)
    sizes = {"lora_rank": 16, "num_loras": ADAPTERS, "num_slices": len(widths), "m": m, "dtype": "float16"}
    hidden = max(widths) if name == "lora_expand" else 64
    problem = kernel.problem_from_flags({**sizes, "hidden_size": hidden, "slice_widths": widths})
    made = kernel.make_inputs(problem, device, 0)
    config = {"block_m": 16, "block_n": 16, "block_k": 16, "split_k": 1, "num_warps": 4, "num_stages": 1, "num_ctas": 1}
    config |= {"block_r": 16, "launches": 2}
    studied, served = kernel.launches(made, config), SERVED[name](made, config)
    assert [(each.fn, each.grid, each.options) for each in studied] == [
        (each.fn, each.grid, each.options) for each in served
    ]
