"""Lookups are read off wrapped layers by the sizes of their tensors; what is never called is left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from autotune.servers.vllm.from_server.answer import DenseAnswer, ExpertAnswer
from autotune.servers.vllm.from_server.calls import is_called
from autotune.servers.vllm.from_server.reading import read


class ColumnParallelLinear:
    """Stands for the server's class of that name."""


class RowParallelLinear:
    """Stands for the server's class of that name."""


class Wrapper(nn.Module):
    """A wrapped layer with stacked A and B."""

    def __init__(self, base: object, inputs: int, rows: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.base_layer = base
        self.lora_a_stacked = tuple(torch.empty(4, 1, rows, inputs, device="meta") for _ in widths)
        self.lora_b_stacked = tuple(torch.empty(4, 1, width, 16, device="meta") for width in widths)

    def forward(self, x: Any) -> Any:
        return x


class Runner(nn.Module):
    """Wrapped experts."""

    def __init__(self) -> None:
        super().__init__()
        self.w13_lora_a_stacked = tuple(torch.empty(4, 8, 8, 64, device="meta") for _ in range(2))
        self.w13_lora_b_stacked = tuple(torch.empty(4, 8, 32, 16, device="meta") for _ in range(2))
        self.w2_lora_a_stacked = (torch.empty(4, 8, 16, 32, device="meta"),)
        self.moe_config: Any = SimpleNamespace(num_local_experts=8, experts_per_token=2)


class OlderRunner(Runner):
    """Wrapped experts of a release whose layer keeps their sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.base_layer, self.moe_config = SimpleNamespace(moe_config=self.moe_config), None


class Block(nn.Module):
    """Calls one layer, reads the weights of another, and gives a third away."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv_proj = Wrapper(ColumnParallelLinear(), 64, 8, (32, 16, 16))
        self.down_proj = Wrapper(RowParallelLinear(), 32, 16, (64,))
        self.conv1d = Wrapper(ColumnParallelLinear(), 4, 16, (64,))
        self.gate = Wrapper(object(), 64, 16, (8,))
        self.experts = Runner()
        self.experts.gate = self.gate

    def forward(self, x: Any) -> Any:
        return self.down_proj(self.qkv_proj(x)) + self.conv1d.weight + self.experts(x)


class OwnRouting(Block):
    """Calls the router itself where the experts do not."""

    def forward(self, x: Any) -> Any:
        return self.experts(x, self.gate(x))


class Indexer(nn.Module):
    """Holds a layer that its own code does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.wq_b = Wrapper(ColumnParallelLinear(), 64, 8, (32,))

    def width(self) -> Any:
        return self.wq_b.weight


class Reaching(nn.Module):
    """Calls a layer through the module that holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.indexer = Indexer()

    def forward(self, x: Any) -> Any:
        return self.indexer.wq_b(x)


class Weighing(nn.Module):
    """Hands layers to methods of its own: one is looked into there, one is called, one is handed on."""

    def __init__(self) -> None:
        super().__init__()
        self.res_proj, self.o_proj, self.v_proj = (Wrapper(object(), 64, 16, (1,)) for _ in range(3))

    def forward(self, x: Any) -> Any:
        return self._weighed(x, projection=self.res_proj) + self._called(self.o_proj, x) + self._handed(self.v_proj)

    def _weighed(self, x: Any, projection: Any) -> Any:
        return x * projection.lora_a_stacked

    def _called(self, projection: Any, x: Any) -> Any:
        return projection(x)

    def _handed(self, projection: Any) -> Any:
        return read(projection)


class Model(nn.Module):
    """Two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block(), Block()])


def test_sizes_are_those_of_the_tensors_and_layers_are_counted() -> None:
    answer = _answer()
    assert dict(answer.dense) == {
        DenseAnswer("qkv_proj", "", "column", 64, 8, (32, 16, 16)): 2,
        DenseAnswer("down_proj", "", "row", 32, 16, (64,)): 2,
    }
    assert dict(answer.experts) == {ExpertAnswer(64, 2, 32, 32, 8, 2): 2}


def test_sizes_of_experts_may_be_of_the_layer_inside() -> None:
    model = Model()
    found = [read(SimpleNamespace(model=model, modules={"experts": experts})) for experts in (OlderRunner(), Runner())]
    assert found[0] == found[1]


def test_what_is_never_called_through_its_wrapper_is_told() -> None:
    assert _answer().uncalled == ("conv1d", "gate")


def test_a_layer_that_no_code_names_counts_as_called() -> None:
    model = Model()
    model.layers[0].add_module("made_at_run_time", Wrapper(object(), 64, 16, (8,)))
    modules = {"layers.0.made_at_run_time": model.layers[0].made_at_run_time}
    answer = read(SimpleNamespace(model=model, modules=modules))
    assert not answer.uncalled and len(answer.dense) == 1


def test_a_router_that_the_runner_holds_unwrapped_is_not_called_whatever_its_block_says() -> None:
    block = OwnRouting()
    assert is_called(block.gate, block)
    block.gate.base_layer = nn.Identity()
    experts: Any = block.experts
    experts.routed_experts = None
    experts.gate = block.gate.base_layer
    assert not is_called(block.gate, block)


def test_a_layer_may_be_called_through_its_holder() -> None:
    reaching = Reaching()
    assert is_called(reaching.indexer.wq_b, reaching)
    assert not is_called(reaching.indexer.wq_b, reaching.indexer)


def test_a_layer_whose_weights_alone_a_method_is_handed_is_not_called() -> None:
    weighing = Weighing()
    assert not is_called(weighing.res_proj, weighing)
    assert is_called(weighing.o_proj, weighing)
    assert is_called(weighing.v_proj, weighing)


def _answer() -> Any:
    model = Model()
    modules = {path: module for path, module in model.named_modules() if isinstance(module, Wrapper | Runner)}
    return read(SimpleNamespace(model=model, modules=modules))
