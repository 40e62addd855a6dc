"""The calls that a call of vLLM's dense ops is compiled ahead for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

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
