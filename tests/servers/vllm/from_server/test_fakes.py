"""The stand-ins for what vLLM's classes ask of a machine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import nn

from autotune.servers.vllm.from_server.fakes import FakeBudget, make_kernels


class Method:
    """How experts are run; it makes its kernel once weights are there."""

    made: Any = None

    def _init_moe_kernel(self, experts: Any) -> None:
        self.made = experts


class Layer(nn.Module):
    """A layer that runs by a method."""

    quant_method: Any
    routed_experts: Any

    def __init__(self, method: Any) -> None:
        super().__init__()
        self.quant_method = method


def test_each_layer_of_experts_has_its_kernel_whether_they_stand_in_it_or_are_it() -> None:
    within, itself, dense = Layer(SimpleNamespace()), Layer(Method()), Layer(SimpleNamespace())
    within.routed_experts = SimpleNamespace(quant_method=Method())
    make_kernels(nn.ModuleList([within, itself, dense]))
    assert within.routed_experts.quant_method.made is within.routed_experts
    assert itself.quant_method.made is itself
    assert vars(dense.quant_method) == {}


def test_a_budget_has_items_of_a_kind_so_that_towers_can_be_wrapped() -> None:
    budget = FakeBudget("config", registry=None)
    assert max(budget.mm_max_items_per_prompt.values()) == budget.get_encoder_budget() == 1
    assert list(budget.mm_max_toks_per_item) == ["image"]
