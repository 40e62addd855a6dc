"""Shrink and expand of a linear layer as one op, in a server's process: by its files, traced, and cached."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from autotune.contract.fingerprint import file_fingerprint, kernel_fingerprint
from autotune.kernels.lora_linear import kernel
from autotune.kernels.lora_linear.defaults import default_config
from autotune.servers.vllm.linear import APART, MOST_TOKENS
from tests.builders.gpu_at_hand import vllm_file
from tests.builders.pair_entry import KEY, PAIR
from tests.builders.plugin_process import COUNTED, run
from tests.builders.tables import nested

LAYER = """
    import types
    from vllm.platforms import current_platform

    METADATA = {tokens: metadata(MAPPING[:tokens]) for tokens in (4, 5, 7)}

    def wrapper():
        module, _, name = current_platform.get_punica_wrapper().rpartition(".")
        made = types.SimpleNamespace(meta_args=lambda tokens, specialize: METADATA[tokens])
        config = types.SimpleNamespace(specialize_active_lora=False)
        return getattr(importlib.import_module(module), name)(made, config)

    def linear(layer, add=True):
        "Returns what the second call of a layer's weights makes: the first one prepares."
        for is_second, out in enumerate((layer.out.clone(), layer.out)):
            before = len(launched)
            wrapper().add_lora_linear(out, layer.x, tuple(layer.a), tuple(layer.b), 1.0, WIDTHS, add_inputs=add)
            if not is_second:
                del launched[before:]  # other weights may have been where these are
        return layer.out

    launched = []
    def watch():
        from autotune.kernels.lora_linear import drop_in
        launches = drop_in.launches
        def watched(found, config):
            if not found.shrink.x.is_meta:  # that is a compilation
                launched.append(config)
            return launches(found, config)
        drop_in.launches = watched

    theirs = linear(Layer.random()).clone()
    overwritten = linear(Layer.random(), add=False).clone()
    fewer = linear(Layer.random(tokens=5)).clone()
    before = len(own_calls)
    register()
    watch()
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / vllm_file("LORA_LINEAR")).write_text(json.dumps(nested(*KEY, PAIR)))
    return {"LORA_AUTOTUNE_KERNELS": "1", "LORA_AUTOTUNE_CONFIG_DIR": str(folder)}


def test_a_layer_is_one_launch_where_an_entry_says_so(tmp_path: Path, environment: dict[str, str]) -> None:
    script = """
    found = [linear(Layer.random()), linear(Layer.random(), add=False), linear(Layer.random(tokens=5))]
    same = [torch.allclose(a, b, rtol=0, atol=0.13) for a, b in zip(found, (theirs, overwritten, fewer))]
    print(json.dumps([same, len(launched), len(own_calls) - before, type(wrapper()).__name__]))
    """
    found, log = run(tmp_path, LAYER + script, environment)
    assert found == [[True, True, True], 3, 0, "PairingPunicaWrapper"]
    assert any("lora_linear run this project's kernels" in line for line in log)


@pytest.mark.parametrize(
    "entry",
    [{**PAIR, "block_m": 24}, {**PAIR, "split_k": 1 << 16}, "text"],
    ids=["unsound", "too large", "no object"],
)
def test_without_a_sound_entry_the_default_runs(tmp_path: Path, environment: dict[str, str], entry: Any) -> None:
    path = Path(environment["LORA_AUTOTUNE_CONFIG_DIR"]) / vllm_file("LORA_LINEAR")
    path.write_text(json.dumps(nested(*KEY, entry)))
    script = """
    same = [torch.allclose(linear(Layer.random()), theirs, rtol=0, atol=0.13) for _ in range(2)]
    print(json.dumps([same, launched[-1]]))
    """
    found, _ = run(tmp_path, LAYER + script, environment)
    assert found == [[True, True], default_config(m=7, k=64, rank=8, n=48, num_slices=3)]


@pytest.mark.parametrize("launches", [1, 2])
def test_calls_of_one_kind_repeat_their_launches(tmp_path: Path, environment: dict[str, str], launches: int) -> None:
    """With other tensors, weights and adapters; for another number of tokens and another way they are laid out anew."""
    path = Path(environment["LORA_AUTOTUNE_CONFIG_DIR"]) / vllm_file("LORA_LINEAR")
    path.write_text(json.dumps(nested(*KEY, {**PAIR, "launches": launches})))
    script = """
    others, kept = (2, 2, -1, 0, 1, 1, -1), []

    def changed(factor, mapping=MAPPING, add=True):
        METADATA[len(mapping)] = metadata(mapping)
        layer = Layer.random(tokens=len(mapping))
        weights = {"a": [each * factor for each in layer.a], "b": [-each for each in layer.b]}
        layer = dataclasses.replace(layer, x=layer.x * factor, **weights)
        kept.append(layer)  # no other weights may come to lie there
        expected = dataclasses.replace(layer, out=layer.out.clone()).run(mapping, add).out
        del laid_out[:]
        same = torch.allclose(linear(layer, add), expected, rtol=0, atol=0.13)
        apart = ("lora_shrink_kernel", "lora_expand_kernel")
        return same, sum(each.__name__ not in apart for each in laid_out)

    cases = (1.0,), (0.5,), (0.5, others), (0.5, others[:5]), (1.0, others), (0.5, others, False)
    print(json.dumps([changed(*case) for case in cases]))
    """
    found, _ = run(tmp_path, COUNTED + textwrap.dedent(LAYER) + textwrap.dedent(script), environment)
    assert found == [[True, count * launches] for count in (1, 0, 0, 1, 0, 1)]


def test_an_entry_of_zeros_runs_shrink_and_expand_apart(tmp_path: Path, environment: dict[str, str]) -> None:
    path = Path(environment["LORA_AUTOTUNE_CONFIG_DIR"]) / vllm_file("LORA_LINEAR")
    path.write_text(json.dumps(nested(*KEY, APART)))
    script = """
    same = torch.allclose(linear(Layer.random()), theirs, rtol=0, atol=0.13)
    print(json.dumps([same, launched]))
    """
    assert run(tmp_path, LAYER + script, environment)[0] == [True, []]


def test_without_any_file_few_tokens_run_by_the_default_and_more_apart(tmp_path: Path) -> None:
    script = f"""
    METADATA[{MOST_TOKENS}] = metadata([0, 1] * {MOST_TOKENS // 2})
    METADATA[{MOST_TOKENS + 1}] = metadata([0] * {MOST_TOKENS + 1})
    counts = []
    for tokens in (7, {MOST_TOKENS}, {MOST_TOKENS + 1}):
        linear(Layer.random(tokens=tokens))
        counts.append(len(launched))
    print(json.dumps([counts, torch.allclose(linear(Layer.random()), theirs, rtol=0, atol=0.13)]))
    """
    assert run(tmp_path, LAYER + script, {"LORA_AUTOTUNE_KERNELS": "1"})[0] == [[1, 2, 2], True]


def test_batches_beyond_any_pair_do_not_look_at_it(tmp_path: Path) -> None:
    """As prompts are, of weights that are prepared: looking costs the CPU more than the two ops."""
    many = MOST_TOKENS + 1
    script = f"""
    METADATA[{many}] = metadata([0, 1] * {many // 2} + [0])
    layer, from_server = Layer.random(tokens={many}), Layer.random(tokens={many})
    wrapper().add_lora_linear(layer.out.clone(), layer.x, tuple(layer.a), tuple(layer.b), 1.0, WIDTHS)
    from autotune.kernels.lora_linear import drop_in
    drop_in.LinearCall.of = None
    wrapper().add_lora_linear(layer.out, layer.x, tuple(layer.a), tuple(layer.b), 1.0, WIDTHS)
    from_server.run([0, 1] * {many // 2} + [0])
    same = torch.allclose(layer.out, from_server.out, rtol=0, atol=0.13)
    METADATA[{many}] = metadata([-1] * {many})
    before = layer.out.clone()
    wrapper().add_lora_linear(layer.out, layer.x, tuple(layer.a), tuple(layer.b), 1.0, WIDTHS)
    print(json.dumps([same, layer.out.equal(before)]))
    """
    assert run(tmp_path, LAYER + script, {"LORA_AUTOTUNE_KERNELS": "1"})[0] == [True, True]


def test_other_weights_where_some_were_are_prepared_by_any_number_of_tokens(tmp_path: Path) -> None:
    """As those of a second engine in a process, by its profiling run: what is captured may have few tokens alone."""
    many = MOST_TOKENS + 1
    script = f"""
    METADATA[{many}] = metadata([0, 1] * {many // 2} + [0])
    few, lots = Layer.random(), Layer.random(tokens={many})

    def call(layer, b):
        out = torch.zeros(len(layer.x), sum(each.shape[2] for each in b), dtype=layer.x.dtype, device=layer.x.device)
        wrapper().add_lora_linear(out, layer.x, tuple(few.a), tuple(b), 1.0, WIDTHS)

    call(lots, few.b)
    wider = [torch.cat([each, each], 2) for each in few.b]
    call(lots, wider)
    call(few, wider)
    print(json.dumps(len(launched)))
    """
    assert run(tmp_path, LAYER + script, {"LORA_AUTOTUNE_KERNELS": "1"})[0] > 0


@pytest.mark.parametrize("part", ["launches", "workspace", "tables"])
def test_a_pair_that_cannot_be_prepared_or_run_leaves_the_two_ops(tmp_path: Path, part: str) -> None:
    script = f"""
    from autotune.kernels.lora_linear import drop_in
    def broken(*_):
        raise RuntimeError("no")
    drop_in.{part} = broken
    same = [torch.allclose(linear(Layer.random()), theirs, rtol=0, atol=0.13) for _ in range(2)]
    print(json.dumps(same))
    """
    found, log = run(tmp_path, LAYER + script, {"LORA_AUTOTUNE_KERNELS": "1"})
    assert found == [True, True]
    assert any("the pair failed once (RuntimeError: no)" in line for line in log)


def test_a_pair_that_does_not_run_leaves_layers_of_other_shapes_theirs(tmp_path: Path) -> None:
    """Two layers of one shape fail, one of another runs as a pair; of all that there is one line."""
    script = """
    from autotune.kernels.lora_linear import drop_in
    launches = drop_in.launches
    def of_all_but_one_shape(found, config):
        if found.shrink.x.shape[1] == HIDDEN:
            raise RuntimeError("no")
        return launches(found, config)
    drop_in.launches = of_all_but_one_shape

    def half(layer):
        a = [weight[..., : HIDDEN // 2].contiguous() for weight in layer.a]
        return dataclasses.replace(layer, x=layer.x[:, : HIDDEN // 2].contiguous(), a=a)

    of_halves = half(Layer.random()).run().out
    launched.clear()
    layers = [Layer.random(), Layer.random(), half(Layer.random())]
    same = [torch.allclose(linear(layer), out, rtol=0, atol=0.13)
            for layer, out in zip(layers, (theirs, theirs, of_halves))]
    print(json.dumps([same, len(launched)]))
    """
    found, log = run(tmp_path, LAYER + script, {"LORA_AUTOTUNE_KERNELS": "1"})
    assert found == [[True] * 3, 1]
    assert sum("the pair failed once (RuntimeError: no)" in line for line in log) == 1


def test_the_first_call_of_weights_runs_the_two_ops(tmp_path: Path) -> None:
    """So they have met them before a graph is captured, and so have the server's own, whose tables are there."""
    script = """
    from vllm.lora.ops.triton_ops import utils
    layer = Layer.random()
    utils._LORA_A_PTR_DICT.clear()
    utils._LORA_B_PTR_DICT.clear()
    counts = []
    for _ in range(2):
        wrapper().add_lora_linear(layer.out, layer.x, tuple(layer.a), tuple(layer.b), 1.0, WIDTHS)
        counts.append(len(launched))
    tables = [len(utils._LORA_A_PTR_DICT), len(utils._LORA_B_PTR_DICT)]
    print(json.dumps([counts, tables, len(own_calls) - before]))
    """
    assert run(tmp_path, LAYER + script, {"LORA_AUTOTUNE_KERNELS": "1"})[0] == [[0, 1], [1, 1], 0]


def test_a_pair_is_prepared_where_no_adapter_is_in_use(tmp_path: Path) -> None:
    """As in a server's profiling run; so are the weights of the two ops, which a graph may capture first."""
    script = """
    from vllm.lora.ops.triton_ops import utils
    layer = Layer.random()
    utils._LORA_A_PTR_DICT.clear()
    utils._LORA_B_PTR_DICT.clear()
    in_use, METADATA[7] = METADATA[7], metadata([-1] * 7)
    start = layer.out.clone()
    def add():
        wrapper().add_lora_linear(layer.out, layer.x, tuple(layer.a), tuple(layer.b), 1.0, WIDTHS)
        return len(launched)
    idle = [add(), add(), torch.equal(layer.out, start)]
    tables = [len(utils._LORA_A_PTR_DICT), len(utils._LORA_B_PTR_DICT)]
    METADATA[7] = in_use
    print(json.dumps([idle, tables, add(), torch.allclose(layer.out, theirs, rtol=0, atol=0.13)]))
    """
    assert run(tmp_path, LAYER + script, {"LORA_AUTOTUNE_KERNELS": "1"})[0] == [[0, 0, True], [1, 1], 1, True]


def test_a_batch_beyond_the_entries_runs_by_the_default(tmp_path: Path, environment: dict[str, str]) -> None:
    path = Path(environment["LORA_AUTOTUNE_CONFIG_DIR"]) / vllm_file("LORA_LINEAR")
    path.write_text(json.dumps(nested("4", "3", "4", "64", "8", "48", PAIR)))
    script = """
    same = torch.allclose(linear(Layer.random()), theirs, rtol=0, atol=0.13)
    few = torch.allclose(linear(Layer.random(tokens=4)), linear(Layer.random(tokens=4)), rtol=0, atol=0)
    print(json.dumps([same, few, list(dict.fromkeys(config["launches"] for config in launched))]))
    """
    assert run(tmp_path, LAYER + script, environment)[0] == [True, True, [2, 1]]


def test_one_cache_gives_each_server_its_own_graph(tmp_path: Path, environment: dict[str, str]) -> None:
    """Off, on, off: what is traced differs by the op's name, and so does the key it is kept under."""
    script = """
    import torch._dynamo
    from pathlib import Path
    from vllm import envs

    traced = []
    def backend(graph, inputs):
        traced.append(str(graph.code))
        return graph.forward

    cache = Path("cache.json")
    kept = json.loads(cache.read_text()) if cache.exists() else {}
    key = json.dumps(envs.compile_factors())
    layer = Layer.random()
    wrapped = wrapper()
    def forward(y, x, a, b):
        wrapped.add_lora_linear(y, x, a, b, 1.0, WIDTHS)
        return y + 1
    same = torch.allclose(
        torch.compile(forward, backend=backend, fullgraph=True)(layer.out, layer.x, layer.a, layer.b), theirs + 1,
        rtol=0, atol=0.13
    )
    hit = kept.get(key)
    kept[key] = ["lora_autotune" in code for code in traced]
    cache.write_text(json.dumps(kept))
    print(json.dumps([same, ["lora_autotune" in code for code in traced], hit]))
    """
    off = {**environment, "LORA_AUTOTUNE_KERNELS": "0"}
    found = [run(tmp_path, LAYER + script, each)[0] for each in (off, environment, off)]
    assert found == [[True, [False], None], [True, [True], None], [True, [False], [False]]]


@pytest.mark.parametrize(("tp", "sharded", "joined"), [(1, False, True), (2, False, False), (1, True, False)])
def test_layers_of_several_slices_that_call_two_ops_call_one(
    tmp_path: Path, environment: dict[str, str], tp: int, sharded: bool, joined: bool
) -> None:
    """As a release has them: a function that its module's classes call by name."""
    script = f"""
    class Base:
        tp_size = {tp}
        lora_config = types.SimpleNamespace(fully_sharded_loras={sharded})
        def apply(self, x, bias=None):
            return "one op"

    class Merged(Base):
        def apply(self, x, bias=None):
            return layers._mcp_apply(x, bias, self)

    layers = sys.modules["vllm.lora.layers.column_parallel_linear"] = types.ModuleType("column_parallel_linear")
    layers._mcp_apply = lambda x, bias, layer: "two ops"
    sys.modules["vllm.lora.layers"] = types.ModuleType("layers")
    base = sys.modules["vllm.lora.layers.base_linear"] = types.ModuleType("base_linear")
    base.BaseLinearLayerWithLoRA = Base
    register()
    print(json.dumps(Merged().apply(None)))
    """
    found, _ = run(tmp_path, "import sys, types\n" + textwrap.dedent(script), environment)
    assert found == ("one op" if joined else "two ops")


def test_another_wrapper_or_a_key_that_cannot_be_told_leaves_the_ops_apart(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    wrapper = "platforms.CudaPlatform.get_punica_wrapper"
    for change in ("envs.compile_factors = dict", f'{wrapper} = lambda: "else.Where"', f"del {wrapper}"):
        script = f"""
        from vllm import envs, platforms
        from autotune.servers.vllm.plugin.override import is_overridden
        {change}
        register()
        place = getattr(platforms.CudaPlatform, "get_punica_wrapper", str)
        print(json.dumps([place(), is_overridden("lora_expand")]))
        """
        (found, expand_is_ours), log = run(tmp_path, script, environment)
        assert "autotune" not in found
        assert expand_is_ours
        assert any("lora_linear: shrink and expand run apart" in line for line in log)


def test_a_pair_that_cannot_be_imported_leaves_the_layers_as_they_are(tmp_path: Path) -> None:
    script = """
    sys.modules["autotune.kernels.lora_linear.drop_in"] = None
    register()
    layer = Layer.random()
    meta = types.SimpleNamespace(meta_args=lambda *_: metadata())
    module, _, name = current_platform.get_punica_wrapper().rpartition(".")
    wrapper = getattr(importlib.import_module(module), name)(meta, types.SimpleNamespace(specialize_active_lora=False))
    wrapper.add_lora_linear(layer.out, layer.x, tuple(layer.a), tuple(layer.b), 1.0, WIDTHS)
    print(json.dumps([name, own_calls, torch.allclose(layer.out, Layer.random().run().out, rtol=0, atol=0.13)]))
    """
    script = "import sys, types\nfrom vllm.platforms import current_platform\n" + textwrap.dedent(script)
    found, log = run(tmp_path, script, {"LORA_AUTOTUNE_KERNELS": "1"})
    assert found == ["PunicaWrapperGPU", [], True]
    assert any("lora_linear: shrink and expand run apart: ModuleNotFoundError" in line for line in log)


def test_the_plug_in_tells_the_kernels_version_as_studies_do() -> None:
    here = Path(str(kernel.__file__))
    assert file_fingerprint(here) == kernel_fingerprint(kernel.LoraLinear())
