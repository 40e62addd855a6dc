"""What the plug-in records in a server's process: lookups where ops are called, batches where adapters are chosen."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune import servers
from autotune.servers.trace import Trace, read
from tests.builders.child import run_code
from tests.builders.gpu_at_hand import vllm_file
from tests.builders.pair_entry import KEY, PAIR
from tests.builders.plugin_process import run
from tests.builders.tables import nested

SERVER = """
    import types
    from vllm.lora.ops.triton_ops.lora_kernel_metadata import LoRAKernelMeta
    from vllm.platforms import current_platform
    from vllm.v1.worker.lora_model_runner_mixin import LoRAModelRunnerMixin

    register()
    module, _, name = current_platform.get_punica_wrapper().rpartition(".")
    metas = [LoRAKernelMeta.make(ADAPTERS, 7, DEVICE) for _ in range(2)]
    config = types.SimpleNamespace(specialize_active_lora=False)
    wrapper = getattr(importlib.import_module(module), name)(metas[0], config, metas[1])
    wrapper.update_metadata(types.SimpleNamespace(index_mapping=MAPPING, prompt_mapping=MAPPING), [], 3, 0)

    def batch(tokens, samples, *names, kind="LANGUAGE"):
        adapters = [types.SimpleNamespace(lora_name=name) for name in names]
        kind = types.SimpleNamespace(name=kind)
        return LoRAModelRunnerMixin()._set_active_loras((1,) * samples, (1,) * tokens, adapters, mapping_type=kind)
"""


def traced(path: Path) -> Trace:
    return read(path, {name: servers.get(name).command_line.ops for name in servers.names()})


def serve(folder: Path, script: str, variables: dict[str, str]) -> tuple[Any, list[str]]:
    return run(folder, textwrap.dedent(SERVER) + textwrap.dedent(script), variables)


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"LORA_AUTOTUNE_TRACE": str(tmp_path / "trace.jsonl"), **more}


SHRINK = {"max_loras": 4, "num_slices": 3, "k": 64, "n": 8}
EXPAND = {"max_loras": 4, "num_slices": 3, "k": 8, "n": 48, "add_inputs": 1}


@pytest.mark.parametrize("switch", ["0", "1"], ids=["the server's kernels", "ours"])
def test_lookups_and_real_batches_are_recorded_whoever_runs_them(tmp_path: Path, switch: str) -> None:
    script = """
        layers = [Layer.random(), Layer.random()]
        for layer in (*layers, layers[0]):
            layer.run()
        results = [batch(7, 7, "warmup_1", "warmup_2"), batch(5, 2), batch(9, 2, "sql", kind="TOWER")]
        results += [batch(7, 2, "sql", "chat") for _ in range(3)]
        print(json.dumps([len(own_calls), results]))
    """
    (own_calls, results), log = serve(tmp_path, script, environment(tmp_path, LORA_AUTOTUNE_KERNELS=switch))
    assert own_calls == (0 if switch == "1" else 6)
    assert results == ["active"] * 6
    assert any("what the server looks up is recorded in" in line for line in log)
    found = traced(tmp_path / "trace.jsonl")
    assert (found.server, found.release, found.dtype, found.processes) == ("vllm", "0.33.0", "float16", 1)
    by_op = {each.seen.op: each for each in found.lookups}
    assert {op: dict(each.seen.dims) for op, each in by_op.items()} == {"shrink": SHRINK, "expand": EXPAND}
    assert dict(by_op["expand"].seen.details) == {"slice_widths": (48, 16, 16)}
    assert {each.launches.layers for each in found.lookups} == {2}
    assert found.largest == 7
    assert not found.captured
    assert found.batches == {"tokens": {7: 3}, "samples": {2: 3}}


def test_over_how_many_gpus_layers_are_shared_out_is_asked_of_the_servers_groups(tmp_path: Path) -> None:
    script = """
        groups = types.ModuleType("vllm.distributed.parallel_state")
        groups.get_tp_group = lambda: types.SimpleNamespace(world_size=4)
        sys.modules[groups.__name__] = groups
        Layer.random().run()
        print(json.dumps(0))
    """
    serve(tmp_path, f"import sys\n{textwrap.dedent(script)}", environment(tmp_path))
    assert {dict(each.seen.details)["tp"] for each in traced(tmp_path / "trace.jsonl").lookups} == {4}


def test_sampled_rows_are_told_by_their_metadata(tmp_path: Path) -> None:
    script = """
        layer = Layer.random()
        torch.ops.vllm.lora_shrink(layer.x, layer.a, layer.low, *metas[1].meta_args(7, False), 1.0)
        torch.ops.vllm.lora_shrink(layer.x, layer.a, layer.low, *metas[0].meta_args(7, False), 1.0)
        print(json.dumps(0))
    """
    serve(tmp_path, script, environment(tmp_path))
    assert sorted(each.seen.rows for each in traced(tmp_path / "trace.jsonl").lookups) == ["samples", "tokens"]


def test_one_launch_a_layer_is_recorded_as_what_the_server_looks_up(tmp_path: Path) -> None:
    file = tmp_path / "own" / vllm_file("LORA_LINEAR")
    file.parent.mkdir()
    file.write_text(json.dumps(nested(*KEY, {**PAIR, "launches": 2})))
    on = environment(tmp_path, LORA_AUTOTUNE_KERNELS="1", LORA_AUTOTUNE_CONFIG_DIR=str(tmp_path / "own"))
    script = """
        layer, meta = Layer.random(), metadata()
        wrapper.token_mapping_meta = types.SimpleNamespace(meta_args=lambda *_: meta)
        wrapper.add_lora_linear(layer.out, layer.x, layer.a, layer.b, 1.0, WIDTHS)
        print(json.dumps([type(wrapper).__name__, own_calls]))
    """
    found, _ = serve(tmp_path, script, on)
    assert found == ["PairingPunicaWrapper", []]
    dims = {each.seen.op: dict(each.seen.dims) for each in traced(tmp_path / "trace.jsonl").lookups}
    assert dims == {"shrink": SHRINK, "expand": EXPAND}


def test_no_adapter_in_use_looks_nothing_up(tmp_path: Path) -> None:
    script = """
        Layer.random().run([-1] * 7)
        batch(7, 7)
        print(json.dumps(0))
    """
    serve(tmp_path, script, environment(tmp_path))
    assert (tmp_path / "trace.jsonl").read_text() == ""


def test_a_file_that_cannot_be_written_is_told_and_the_server_goes_on(tmp_path: Path) -> None:
    script = """
        register()
        Layer.random().run()
        print(json.dumps(own_calls))
    """
    found, log = run(tmp_path, script, {"LORA_AUTOTUNE_TRACE": str(tmp_path / "none" / "trace.jsonl")})
    assert found == ["lora_shrink", "lora_expand"]
    assert any("LORA_AUTOTUNE_TRACE" in line and "cannot be written to" in line for line in log)


def test_a_call_that_is_not_understood_ends_the_recording_and_not_the_server(tmp_path: Path) -> None:
    script = """
        from autotune.servers.vllm.plugin import traced_calls
        def fail(*_):
            raise KeyError("odd")
        traced_calls._shrink = fail
        Layer.random().run()
        print(json.dumps(own_calls))
    """
    found, log = serve(tmp_path, script, environment(tmp_path))
    assert found == ["lora_shrink", "lora_expand"]
    assert any("nothing more is recorded: KeyError" in line for line in log)


def test_compiled_graphs_are_recorded_and_are_the_same_as_without(tmp_path: Path) -> None:
    """The op stays opaque: one graph, without a break, and the recorder is in none of it."""
    script = """
        for op in SCHEMAS:
            torch.library.register_fake(f"vllm::{op}", lambda *_, **__: None, lib=LIBRARIES[0])
        layer, meta, graphs = Layer.random(), metas[0].meta_args(7, False), []

        def backend(graph, _):
            graphs.append([str(node.target) for node in graph.graph.nodes if node.op == "call_function"])
            return graph.forward

        def forward(x, low):
            torch.ops.vllm.lora_shrink(x, layer.a, low, *meta, 1.0)
            return low + 1

        torch.compile(forward, backend=backend, fullgraph=True)(layer.x, layer.low)
        print(json.dumps(graphs))
    """
    (graph,), _ = serve(tmp_path, script, environment(tmp_path))
    assert [node for node in graph if "lora" in node] == ["vllm.lora_shrink"]
    assert [each.seen.op for each in traced(tmp_path / "trace.jsonl").lookups] == ["shrink"]


@pytest.mark.parametrize("release", ["0.23.0", "0.28.0", "0.31.0", "0.32.0", "0.33.0"])
def test_the_real_ops_are_recorded(served: Callable[[str], Path], release: str, tmp_path: Path) -> None:
    """On the released modules, whose metadata of a process without a GPU are made by hand."""
    script = """
import importlib, inspect, torch
from vllm.lora.ops.triton_ops.lora_kernel_metadata import LoRAKernelMeta
from autotune.servers.vllm.plugin import tracing

def op(name):
    # What the dispatcher runs, with a check of the parameters in the place of the server's own function.
    own = getattr(importlib.import_module(f"vllm.lora.ops.triton_ops.{name}_op"), f"_{name}")
    return tracing.traced(name, lambda *args: inspect.signature(own).bind(*args))

meta = LoRAKernelMeta.make(2, 7, "cpu")
meta.prepare_tensors(torch.tensor([0, 1, -1, 1, 0, 0, 1], dtype=torch.int32))
args = meta.meta_args(7, False)
zeros = lambda *shape: torch.zeros(*shape, dtype=torch.bfloat16)
x, a, low = zeros(7, 32), [zeros(2, 1, 8, 32)], torch.zeros(1, 7, 8)
op("lora_shrink")(x, a, low, *args, 1.0)
b, y = [zeros(2, 1, 64, 8)], zeros(7, 64)
op("lora_expand")(low, b, y, *args, 0, True)
ea, eb = [zeros(2, 4, 8, 32)] * 2, [zeros(2, 4, 24, 8)] * 2
ids = torch.zeros(2, 4, dtype=torch.int32)
of_experts = (zeros(7, 2, 48), x, ea, eb, torch.ones(7, 2), ids, ids, ids[:, 0])
op("fused_moe_lora")(*of_experts, args[0], 8, 2, args[4], args[6], args[4], *[16] * 14)
"""
    done = run_code(served(f"vllm-{release}"), script, **environment(tmp_path))
    assert done.returncode == 0, done.stderr
    found = traced(tmp_path / "trace.jsonl")
    dims = {each.seen.op: dict(each.seen.dims) for each in found.lookups}
    experts = {"max_loras": 2, "num_slices": 2, "k": 8, "n": 32, "i": 24}
    assert dims == {
        "shrink": {"max_loras": 3, "num_slices": 1, "k": 32, "n": 8},
        "expand": {"max_loras": 3, "num_slices": 1, "k": 8, "n": 64, "add_inputs": 1},
        "fused_moe_lora_w13_shrink": experts,
        "fused_moe_lora_w13_expand": experts,
    }
    assert found.largest == 7
