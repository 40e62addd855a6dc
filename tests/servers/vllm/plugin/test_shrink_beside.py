"""The shrink of a linear layer beside the base's product, in a server's process."""

from __future__ import annotations

import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autotune.servers.vllm.plugin import shrink_beside
from tests.builders.plugin_process import run

LAYERS = """
    import torch, types
    from contextlib import contextmanager
    from vllm.platforms import current_platform
    from autotune.servers.source_check import function_hash
    from autotune.servers.vllm import layer_classes
    from autotune.servers.vllm.plugin import layers, shrink_beside

    OTHERS = (1, 1, -1, 0, 2, -1, 2)
    seen = []

    class Side:
        "Notes what a stream of its own would be given."
        behind = True
        def has_work(self, device):
            return self.behind
        def mark(self, device):
            seen.append("mark")
            return "here"
        @contextmanager
        def after(self, mark, device):
            seen.append("shrink")
            yield
            seen.append("join")

    class Product:
        def apply(self, base, x, bias=None):
            seen.append("product")
            return x @ base.weight if bias is None else x @ base.weight + bias

    from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA

    class Classifier(BaseLinearLayerWithLoRA):
        def _apply_lora_to_output(self, x, output):
            return -super()._apply_lora_to_output(x, output)

    META = list(metadata())
    def wrapper():
        module, _, name = current_platform.get_punica_wrapper().rpartition(".")
        made = types.SimpleNamespace(meta_args=lambda tokens, specialize, meta=META: meta)
        config = types.SimpleNamespace(specialize_active_lora=False)
        return getattr(importlib.import_module(module), name)(made, config)

    def layer(cls=BaseLinearLayerWithLoRA):
        made = Layer.random()
        weight = torch.randn(HIDDEN, sum(WIDTHS), generator=torch.Generator().manual_seed(2))
        base = types.SimpleNamespace(quant_method=Product(), weight=weight.to(DEVICE, made.x.dtype) / 8)
        return cls(base, wrapper(), made.a, made.b), made.x

    def same(one, two):
        "Half precision is within 2^-11, and a handful of roundings are of numbers up to the largest."
        return bool((one - two).abs().max() <= 2.0**-8 * two.abs().max())

    def applied(cls=BaseLinearLayerWithLoRA):
        "Returns what a layer's second call does: the first one prepares."
        made, x = layer(cls)
        made.apply(x)
        seen.clear()
        return made.apply(x)

    theirs, negative = applied(), applied(Classifier)
    layer_classes.KNOWN = {
        name: (function_hash(getattr(BaseLinearLayerWithLoRA, name)),) for name in layer_classes.KNOWN
    }
    layers.SideStream = Side
    seen.clear()
"""
BESIDE = """
    def everywhere():
        for place in (shrink_beside, layers):
            place.is_gain = lambda x: True
"""
ORDER = ["mark", "product", "shrink", "join"]
"""A layer's work, as it is handed to the GPU."""
ON = {"LORA_AUTOTUNE_KERNELS": "1"}


def _script(*parts: str) -> str:
    return "import importlib, sys\n" + "".join(textwrap.dedent(part) for part in parts)


@pytest.mark.parametrize(
    ("rows", "captured", "gain"),
    [
        (0, True, False),
        (1, True, True),
        (384, True, True),
        (385, True, False),
        (1023, True, False),
        (1024, True, True),
        (384, False, False),
        (1023, False, False),
        (1024, False, True),
    ],
)
def test_a_stream_of_its_own_is_for_few_rows_that_are_captured_and_for_many(
    monkeypatch: pytest.MonkeyPatch, rows: int, captured: bool, gain: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: captured)
    x: Any = SimpleNamespace(shape=(rows, 32), numel=lambda: rows * 32, is_cuda=True)
    assert shrink_beside.is_gain(x) is gain
    on_cpu: Any = SimpleNamespace(**{**vars(x), "is_cuda": False})
    assert not shrink_beside.is_gain(on_cpu)


def test_the_shrink_may_start_when_the_product_may_and_the_expand_waits_for_it(tmp_path: Path) -> None:
    script = """
    everywhere()
    register()
    results = [same(applied(), theirs)]
    order = list(seen)
    made, x = layer()
    bias = torch.full((sum(WIDTHS),), 3.0, device=DEVICE, dtype=x.dtype)
    results.append(same(made.apply(x, bias), theirs + 3))
    three = made.apply(x[None])
    results += [three.shape == (1, *theirs.shape), same(three[0], theirs)]
    META[:] = metadata([-1] * len(MAPPING))
    results.append(same(made.apply(x), x @ made.base_layer.weight))
    print(json.dumps([results, order, len(own_calls)]))
    """
    found, _ = run(tmp_path, _script(LAYERS, BESIDE, script), ON)
    assert found[:2] == [[True] * 5, ORDER]


def test_weights_that_are_met_first_are_left_to_the_call_that_prepares(tmp_path: Path) -> None:
    script = """
    everywhere()
    register()
    made, x = layer()
    first = same(made.apply(x), theirs)
    calls = list(seen)
    print(json.dumps([first, calls, same(made.apply(x), theirs), seen[len(calls):]]))
    """
    assert run(tmp_path, _script(LAYERS, BESIDE, script), ON)[0] == [True, ["product"], True, ORDER]


def test_where_nothing_is_gained_all_follows_the_product_as_one_op(tmp_path: Path) -> None:
    script = """
    register()
    one = same(applied(), theirs)
    layers.is_gain = lambda x: True   # asked by the layer, as where it is compiled, and not by the op
    shrink_beside.is_gain = lambda x: False
    print(json.dumps([one, same(applied(), theirs), seen]))
    """
    assert run(tmp_path, _script(LAYERS, BESIDE, script), ON)[0] == [True, True, ["product"]]


def test_a_gpu_that_waits_for_the_cpu_is_given_one_stream(tmp_path: Path) -> None:
    """Nothing runs beside anything there; in a capture it is not asked, which would end it."""
    script = """
    everywhere()
    register()
    Side.behind = False
    results = [same(applied(), theirs)]
    order = list(seen)

    def never(*_):
        raise RuntimeError("operation not permitted when stream is capturing")

    from autotune.servers.plugin import capture
    Side.has_work, capture.is_on = never, lambda _: True
    print(json.dumps([[*results, same(applied(), theirs)], order, seen]))
    """
    assert run(tmp_path, _script(LAYERS, BESIDE, script), ON)[0] == [[True, True], ["product"], ORDER]


def test_a_shrink_that_is_never_ended_is_not_taken_for_anothers(tmp_path: Path) -> None:
    script = """
    everywhere()
    register()
    made, x = layer()
    made.apply(x)
    seen.clear()
    memory = torch.empty(len(WIDTHS), x.shape[0], RANK, device=DEVICE)
    shrink_beside.empty_buffer = lambda *_: memory
    wrapped = made.punica_wrapper
    wrapped.begin_lora_linear(x, made.lora_a_stacked)
    shrink_beside.is_gain = lambda x: False
    memory.fill_(torch.nan)
    print(json.dumps([same(made.apply(x), theirs), seen]))
    """
    found, _ = run(tmp_path, _script(LAYERS, BESIDE, script), ON)
    assert found == [True, ["mark", "product"]]


def test_a_graph_runs_ours_where_weights_were_met_in_small_batches_alone(tmp_path: Path) -> None:
    """As of a server whose largest batch runs as a pair, of which its profiling run is one."""
    script = """
    from autotune.servers.plugin import capture
    register()
    made, x = layer()
    made.apply(x)
    everywhere()
    capture.is_on = lambda _: True
    own_calls.clear()
    seen.clear()
    print(json.dumps([same(made.apply(x), theirs), seen, own_calls]))
    """
    found, log = run(tmp_path, _script(LAYERS, BESIDE, script), ON)
    assert found == [True, ORDER, []]
    assert not any("a CUDA graph is captured before" in line for line in log)


def test_a_layer_that_does_more_to_its_output_keeps_its_order(tmp_path: Path) -> None:
    script = """
    everywhere()
    register()
    print(json.dumps([same(applied(Classifier), negative), seen]))
    """
    assert run(tmp_path, _script(LAYERS, BESIDE, script), ON)[0] == [True, ["product"]]


def test_layers_of_classes_that_are_made_later_keep_their_order_as_well(tmp_path: Path) -> None:
    """As those of another plug-in, which the server loads behind this one; and a method of their own stays theirs."""
    script = """
    class Both(BaseLinearLayerWithLoRA):
        def _apply_sync(self, x, bias=None):
            return 2 * self._apply_lora_to_output(x, self.base_layer.quant_method.apply(self.base_layer, x, bias))
        def _apply_lora_to_output(self, x, output):
            return -super()._apply_lora_to_output(x, output)

    everywhere()
    register()

    class Later(BaseLinearLayerWithLoRA):
        def _apply_lora_to_output(self, x, output):
            return -super()._apply_lora_to_output(x, output)

    class Plain(BaseLinearLayerWithLoRA):
        pass

    results = [same(applied(Later), negative), same(applied(Both), 2 * negative)]
    calls = list(seen)
    print(json.dumps([results, calls, same(applied(Plain), theirs), seen]))
    """
    assert run(tmp_path, _script(LAYERS, BESIDE, script), ON)[0] == [[True, True], ["product"], True, ORDER]


@pytest.mark.parametrize(
    "change",
    [
        'layer_classes.KNOWN["_apply_sync"] = ("another",)',
        "del BaseLinearLayerWithLoRA._apply_lora_to_output",
        "setattr(BaseLinearLayerWithLoRA, '_apply_lora_to_output', torch.relu)",
        "sys.modules['vllm.lora.layers'] = None",
        "layers.function_hash = lambda _: 1 / 0",
    ],
    ids=["another source", "no such method", "no source", "not there", "cannot be told"],
)
def test_layers_that_are_not_as_known_keep_their_order(tmp_path: Path, change: str) -> None:
    script = f"""
    own = BaseLinearLayerWithLoRA._apply_sync
    {change}
    register()
    print(json.dumps([BaseLinearLayerWithLoRA._apply_sync is own, type(wrapper()).__name__]))
    """
    assert run(tmp_path, _script(LAYERS, script), ON)[0] == [True, "PairingPunicaWrapper"]


def test_what_is_compiled_calls_two_ops_in_their_order_and_its_cache_knows(tmp_path: Path) -> None:
    script = """
    import torch._dynamo
    from vllm import envs

    before = json.dumps(envs.compile_factors())
    register()
    graphs = []
    def backend(graph, inputs):
        graphs.append([node.target._opname if hasattr(node.target, "_opname") else str(node.target)
                       for node in graph.graph.nodes if node.op.startswith("call")])
        return graph.forward
    made, x = layer()
    Product.apply = lambda self, base, x, bias=None: x @ base.weight
    results = [same(torch.compile(made.apply, backend=backend, fullgraph=True)(x), theirs)]
    torch._dynamo.reset()
    results.append(same(torch.compile(made.apply, backend="aot_eager", fullgraph=True)(x), theirs))
    [calls] = graphs
    places = [next(i for i, each in enumerate(calls) if name in each)
              for name in ("lora_linear_begin", "matmul", "lora_linear_end")]
    print(json.dumps([results, places == sorted(places), json.dumps(envs.compile_factors()) != before]))
    """
    assert run(tmp_path, _script(LAYERS, script), ON)[0] == [[True, True], True, True]


@pytest.mark.parametrize("functionalized_v2", [True, False], ids=["as torch does it", "as the server has it"])
def test_a_compilers_passes_leave_the_mark_ahead_of_the_product(tmp_path: Path, functionalized_v2: bool) -> None:
    """They move calls to where their results are used; the product here is an op, which is all that is compiled."""
    script = f"""
    import torch._inductor.config
    torch._inductor.config.enable_auto_functionalized_v2 = {functionalized_v2}
    torch._inductor.config.fx_graph_cache = False

    library = torch.library.Library("stand_in", "FRAGMENT")
    library.define("product(Tensor x, Tensor weight) -> Tensor")
    def product(x, weight):
        seen.append("product")
        return x @ weight
    library.impl("product", product, DEVICE.upper())
    torch.library.register_fake("stand_in::product", lambda x, weight: x @ weight, lib=library)
    Product.apply = lambda self, base, x, bias=None: torch.ops.stand_in.product(x, base.weight)

    everywhere()
    register()
    made, x = layer()
    weight = made.base_layer.weight
    def two(x):
        return made.apply(torch.ops.stand_in.product(made.apply(x), weight.T))
    expected = two(x)
    seen.clear()
    found = torch.compile(two, fullgraph=True, dynamic=True)(x)
    print(json.dumps([same(found, expected), seen]))
    """
    found, _ = run(tmp_path, _script(LAYERS, BESIDE, script), ON)
    assert found == [True, [*ORDER, "product", *ORDER]]


@pytest.mark.skipif("config.getoption('--device') != 'cuda'", reason="streams are a GPU's")
@pytest.mark.parametrize("switch", ["1", "0"])
def test_a_captured_layer_reads_what_is_there_at_its_replay(tmp_path: Path, switch: str) -> None:
    script = """
    from autotune.servers.vllm.plugin.shrink_beside import SideStream
    layers.SideStream = SideStream
    register()
    made, x = layer()
    asked = layers.is_gain
    everywhere()  # as batches of many tokens, which servers run first
    for _ in range(2):
        made.apply(x)
    shrink_beside.is_gain = layers.is_gain = asked
    made.apply(x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(20):
            y = made.apply(x * 1)
    results = []
    for factor in (1, -1, 0.5):
        x.copy_(layer()[1] * factor)
        y.fill_(torch.nan)
        graph.replay()
        results.append(same(y, theirs * factor))
    for new, old in zip(metadata(OTHERS), META):
        old.copy_(new)
    x.copy_(layer()[1])
    graph.replay()
    replayed = y.clone()
    results.append(same(replayed, made.apply(x)))
    print(json.dumps([results, not same(replayed, theirs)]))
    """
    environment = {**ON, "LORA_AUTOTUNE_SHRINK_BESIDE": switch}
    assert run(tmp_path, _script(LAYERS, BESIDE, script), environment)[0] == [[True] * 4, True]
