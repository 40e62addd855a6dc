"""The plug-in in a server's process, over a stand-in of the server's package with the real ops' schemas."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from autotune.servers import provenance
from tests.builders.gpu_at_hand import gpu_name, vllm_file
from tests.builders.plugin_process import run

ON = {"LORA_AUTOTUNE_KERNELS": "1"}
FOREIGN = "optuna sklearn scipy click typer sqlalchemy cattrs rich filelock platformdirs pebble safetensors hypothesis"


def test_it_loads_no_package_that_a_server_may_lack(tmp_path: Path) -> None:
    """Nor does a call: a server's environment has torch and Triton, the rest need not be there."""
    script = """
        register()
        Layer.random().run()
        print(json.dumps([own_calls, sorted({name.partition(".")[0] for name in sys.modules})]))
    """
    (own_calls, loaded), _ = run(tmp_path, script, ON)
    assert not own_calls
    assert not set(FOREIGN.split()) & set(loaded)


def log_of_the_servers_own(tmp_path: Path, change: str, environment: dict[str, str]) -> list[str]:
    """Returns the log of a process in which, after a change, the server's own functions run both dense ops."""
    script = f"""
        {change}
        register()
        Layer.random().run()
        print(json.dumps(own_calls))
    """
    found, log = run(tmp_path, script, environment)
    assert found == ["lora_shrink", "lora_expand"]
    return log


@pytest.mark.parametrize("environment", [{}, {"LORA_AUTOTUNE_KERNELS": "0"}], ids=["unset", "0"])
def test_it_does_nothing_while_the_switch_is_off(tmp_path: Path, environment: dict[str, str]) -> None:
    script = """
        register()
        Layer.random().run()
        print(json.dumps([own_calls, "autotune.servers.vllm.plugin.override" in sys.modules]))
    """
    found, log = run(tmp_path, script, environment)
    assert found == [["lora_shrink", "lora_expand"], False]
    assert not log


def test_ours_compute_the_same_and_say_so_once_however_often_it_is_registered(tmp_path: Path) -> None:
    script = """
        theirs = Layer.random().run()
        before = list(own_calls)
        for _ in range(3):
            register()
        ours = Layer.random().run()
        print(json.dumps([before == own_calls, ours.equals(theirs)]))
    """
    found, log = run(tmp_path, script, ON)
    assert found == [True, True]
    (line,) = log
    assert (
        "vllm's lora_shrink, lora_expand, fused_moe_lora, lora_linear run this project's kernels; configs: none" in line
    )


def test_what_is_outside_the_limits_runs_the_servers_own_call_by_call(tmp_path: Path) -> None:
    script = """
        register()
        outside = {
            "weights are float32": Layer.random(torch.float32),
            "output is not contiguous": dataclasses.replace(Layer.random(), out=Layer.random().out.T.contiguous().T),
        }
        found = {}
        for name, layer in outside.items():
            own_calls.clear()
            layer.run()
            found[name] = list(own_calls)
        own_calls.clear()
        Layer.random().run()
        print(json.dumps([found, own_calls]))
    """
    (found, own_calls), log = run(tmp_path, script, ON)
    assert found["weights are float32"] == ["lora_shrink", "lora_expand"]
    assert found["output is not contiguous"] == ["lora_expand"]
    assert not own_calls
    assert len(log) == 4


def test_weights_outside_the_limits_are_looked_at_once(tmp_path: Path) -> None:
    """The server's own kernel runs at no cost, and weights are as they are."""
    script = """
        register()
        from autotune.kernels.lora_shrink.drop_in import ShrinkDropIn
        looks, outside = [], ShrinkDropIn.outside_of_weights

        def noting(self, call):
            looks.append(call)
            return outside(self, call)

        ShrinkDropIn.outside_of_weights = noting
        layer = Layer.random(torch.float32)
        for _ in range(3):
            layer.run()
        print(json.dumps([len(looks), own_calls.count("lora_shrink")]))
    """
    found, log = run(tmp_path, script, ON)
    assert found == [1, 3]
    assert sum("lora_shrink: calls run the server's own kernel where weights are torch.float32" in line for line in log)


def test_no_adapter_in_use_touches_nothing_and_an_empty_batch_neither(tmp_path: Path) -> None:
    script = """
        register()
        layer = Layer.random()
        before = layer.out.clone()
        layer.run([-1] * len(MAPPING))
        untouched = bool((layer.low == 7.0).all()) and torch.equal(layer.out, before)
        Layer.random(tokens=0).run([])
        print(json.dumps([untouched, own_calls]))
    """
    found, _ = run(tmp_path, script, ON)
    assert found == [True, []]


@pytest.mark.parametrize("op", ["lora_shrink", "lora_expand"])
def test_weights_are_prepared_where_no_adapter_is_in_use(op: str, tmp_path: Path) -> None:
    """As in a server's profiling run: else the first request with an adapter would wait for the compiler."""
    script = f"""
        register()
        from autotune.kernels.{op}.drop_in import DROP_IN
        from vllm.lora.ops.triton_ops import utils
        tables, table = [], type(DROP_IN).table

        def noting(self, call):
            tables.append(call)
            return table(self, call)

        type(DROP_IN).table = noting
        layer = Layer.random()
        layer.run([-1] * len(MAPPING))
        met = [len(tables), len(utils._LORA_A_PTR_DICT), len(utils._LORA_B_PTR_DICT)]
        layer.run([-1] * len(MAPPING))
        layer.run()
        print(json.dumps([met, len(tables), own_calls]))
    """
    found, _ = run(tmp_path, script, ON)
    assert found == [[1, 1, 1], 1, []]


def test_weights_that_cannot_be_prepared_where_no_adapter_is_in_use_harm_nothing(tmp_path: Path) -> None:
    script = """
        theirs = Layer.random().run()
        register()
        from autotune.kernels.lora_shrink.drop_in import ShrinkDropIn

        def broken(self, call):
            raise RuntimeError("no memory")

        ShrinkDropIn.table = broken
        own_calls.clear()
        Layer.random().run([-1] * len(MAPPING))
        idle = list(own_calls)
        print(json.dumps([idle, Layer.random().run().equals(theirs), own_calls]))
    """
    found, log = run(tmp_path, script, ON)
    assert found == [[], True, ["lora_shrink"]]
    assert sum("ours failed once (RuntimeError: no memory)" in line for line in log) == 1


@pytest.mark.parametrize("families", ["dense", "moe"])
def test_weights_of_another_type_where_others_were_are_looked_at_anew(families: str, tmp_path: Path) -> None:
    """As of a second model in a process, whose memory was the first one's: ours are not proven for its type."""
    script = """
        def moved(weights, places):
            "Puts weights where others are, whose memory is theirs now."
            return [place.view(weight.dtype)[: weight.numel()].view(weight.shape).copy_(weight)
                    for weight, place in zip(weights, places)]

        register()
        if FAMILIES == "moe":
            layer = Experts.random()
            t = layer.tensors
            places = [torch.empty(weight.numel() * 4, dtype=torch.uint8, device=DEVICE) for weight in (*t.a, *t.b)]
            def at(places, dtype):
                a, b = [w.to(dtype) for w in t.a], [w.to(dtype) for w in t.b]
                layer.tensors = dataclasses.replace(
                    t, a=moved(a, places), b=moved(b, places[len(a):]), x=t.x.to(dtype), out=t.out.to(dtype))
                layer.run()
        else:
            layer = Layer.random()
            places = [torch.empty(w.numel() * 4, dtype=torch.uint8, device=DEVICE) for w in (*layer.a, *layer.b)]
            def at(places, dtype):
                a, b = [w.to(dtype) for w in layer.a], [w.to(dtype) for w in layer.b]
                n = len(a)
                dataclasses.replace(layer, a=moved(a, places), b=moved(b, places[n:]), x=layer.x.to(dtype),
                                    out=layer.out.to(dtype)).run()
        at(places, torch.float16)
        halves = list(own_calls)
        at(places, torch.float32)
        print(json.dumps([halves, own_calls]))
    """
    environment = {"LORA_AUTOTUNE_KERNELS": families}
    found, _ = run(tmp_path, f'FAMILIES = "{families}"\n' + textwrap.dedent(script), environment)
    assert found == [[], ["lora_shrink", "lora_expand"] if families == "dense" else ["fused_moe_lora"]]


def test_a_config_that_does_not_run_and_a_kernel_that_fails_are_survived(tmp_path: Path) -> None:
    """A block size that is no power of two does not compile; then our kernel fails with its default, too."""
    folder = tuned(tmp_path / "own", {"block_m": 24})
    script = """
        theirs = Layer.random().run()
        register()
        own_calls.clear()
        ours = Layer.random().run()
        by_default = list(own_calls)
        from autotune.kernels.lora_shrink.drop_in import ShrinkDropIn

        from autotune.servers.plugin.repeat import Repeats

        def fails(self, arguments, config):
            raise RuntimeError("no such kernel")

        Repeats.get = lambda self, kind: None
        ShrinkDropIn.launches = fails
        again = Layer.random().run()
        print(json.dumps([by_default, ours.equals(theirs), own_calls, again.equals(theirs)]))
    """
    found, log = run(tmp_path, script, {**ON, "LORA_AUTOTUNE_CONFIG_DIR": str(folder)})
    assert found == [[], True, ["lora_shrink"], True]
    assert sum("does not run" in line for line in log) == 2
    assert sum("ours failed once (RuntimeError: no such kernel)" in line for line in log) == 1


def test_a_kernel_that_fails_for_one_shape_runs_for_others(tmp_path: Path) -> None:
    script = """
        register()
        from autotune.kernels.lora_shrink.drop_in import ShrinkDropIn
        launches = ShrinkDropIn.launches

        def fails_for_some(self, arguments, config):
            if arguments.x.shape[1] == HIDDEN:
                raise RuntimeError("no such kernel")
            return launches(self, arguments, config)

        ShrinkDropIn.launches = fails_for_some
        layers = [Layer.random(), Layer.random()]
        half = Layer.random()
        half.x, half.a = half.x[:, ::2].contiguous(), [weight[..., ::2].contiguous() for weight in half.a]
        found = []
        for layer in (*layers, half):
            own_calls.clear()
            layer.run()
            found.append(list(own_calls))
        print(json.dumps(found))
    """
    found, log = run(tmp_path, script, ON)
    assert found == [["lora_shrink"], ["lora_shrink"], []]
    assert sum("ours failed once (RuntimeError: no such kernel)" in line for line in log) == 1


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"VLLM_BATCH_INVARIANT": "1"}, "VLLM_BATCH_INVARIANT is set, and ours do not do batch-invariant mode"),
        ({"VLLM_LORA_ENABLE_DUAL_STREAM": "1"}, "VLLM_LORA_ENABLE_DUAL_STREAM is set, and ours do not do dual stream"),
    ],
)
def test_modes_that_ours_do_not_have_are_left_to_the_server(
    environment: dict[str, str], said: str, tmp_path: Path
) -> None:
    log = log_of_the_servers_own(tmp_path, "", ON | environment)
    assert log == [f"lora-autotune: vllm runs its own kernels: {said}"]


def test_another_makers_gpu_is_left_to_the_server(tmp_path: Path) -> None:
    """Torch calls it a CUDA device, and its ops have the same sources."""
    change = 'DEVICE == "cuda" and torch.cuda.init(); torch.version.hip = "6.4"'  # this torch cannot start AMD's
    (line,) = log_of_the_servers_own(tmp_path, change, ON)
    assert line.endswith("its own kernels: this torch is for AMD's GPUs, and ours are proven on NVIDIA's alone")


def test_an_unknown_release_is_left_alone_with_one_line(tmp_path: Path) -> None:
    change = 'served_modules.DENSE = dataclasses.replace(served_modules.DENSE, known={"0.32.0": "x", "0.33.0": "y"})'
    log = log_of_the_servers_own(tmp_path, change, {"LORA_AUTOTUNE_KERNELS": "dense"})
    (line,) = log
    assert "the LoRA ops of vllm 0.33.0 have sources" in line
    assert line.endswith("known are those of 0.32.0, 0.33.0")


def test_families_are_told_apart(tmp_path: Path) -> None:
    """One that is asked for leaves the other alone, and so does one whose sources are unknown."""
    script = """
        {change}
        theirs = Experts.random().run()
        register()
        own_calls.clear()
        Layer.random().run()
        same = Experts.random().run().equals(theirs)
        print(json.dumps([own_calls, same]))
    """
    unknown = 'served_modules.MOE = dataclasses.replace(served_modules.MOE, known={"0.33.0": "y"})'
    dense, moe = ["lora_shrink", "lora_expand"], ["fused_moe_lora"]
    for change, wanted, theirs in (("", "dense", moe), ("", "moe", dense), ("", "1", []), (unknown, "1", moe)):
        found, log = run(tmp_path, script.replace("{change}", change), {"LORA_AUTOTUNE_KERNELS": wanted})
        assert found == [theirs, True]
        (line,) = log
        assert ("fused_moe_lora" in line, "lora_shrink, lora_expand" in line) == (theirs != moe, theirs != dense)
        assert ("; the server's own kernels run for moe: the LoRA ops of" in line) == bool(change)


def test_experts_outside_the_limits_run_the_servers_own(tmp_path: Path) -> None:
    script = """
        register()
        layer = Experts.random()
        layer.tokens = dataclasses.replace(layer.tokens, topk_weights=layer.tokens.topk_weights.half())
        layer.run()
        outside = list(own_calls)
        own_calls.clear()
        Experts.random().run()
        Experts.random().run(add=False)
        from autotune.kernels.aligned_moe_lora.drop_in import AlignedMoeDropIn

        from autotune.servers.plugin.repeat import Repeats

        def fails(self, arguments, config):
            raise RuntimeError("no such kernel")

        Repeats.get = lambda self, kind: None
        AlignedMoeDropIn.launches = fails
        ours = list(own_calls)
        Experts.random().run()
        print(json.dumps([outside, ours, own_calls]))
    """
    found, log = run(tmp_path, script, {"LORA_AUTOTUNE_KERNELS": "moe"})
    assert found == [["fused_moe_lora"], [], ["fused_moe_lora"]]
    assert sum("where routing weights are torch.float16" in line for line in log) == 1
    assert sum("ours failed once (RuntimeError: no such kernel)" in line for line in log) == 1


def test_a_graph_that_was_traced_without_the_plug_in_runs_ours_and_is_the_same_with_it(tmp_path: Path) -> None:
    """So one compile cache serves a server with the plug-in, and without: off, on, and off again."""
    script = """
        from autotune.servers.vllm.plugin import override
        from autotune.servers.vllm.served_moe import told_of_machine

        traced = []
        def backend(graph, inputs):
            traced.append(str(graph.code))
            return graph.forward

        def compiled():
            def forward(arguments):
                torch.ops.vllm.fused_moe_lora(*arguments)
                return arguments[0] + 1
            torch.compiler.reset()
            return torch.compile(forward, backend=backend, fullgraph=True)

        with told_of_machine(torch.device(DEVICE)):
            theirs = Experts.random().run()
            off = compiled()
            calls = []
            for graph, change in ((off, None), (off, register), (compiled(), None), (off, override.restore)):
                if change:
                    change()
                own_calls.clear()
                layer = Experts.random()
                out = graph(layer.arguments())
                calls.append([len(own_calls), layer.equals(theirs), bool((out == layer.tensors.out + 1).all())])
        print(json.dumps([calls, len(set(traced)), "vllm.fused_moe_lora" in traced[0]]))
    """
    found, _ = run(tmp_path, script, {"LORA_AUTOTUNE_KERNELS": "moe"})
    assert found == [[[1, True, True], [0, True, True], [0, True, True], [1, True, True]], 1, True]


def test_nothing_that_goes_wrong_leaves_the_entry_point(tmp_path: Path) -> None:
    script = """
        from autotune.servers.vllm.plugin import state
        state.current = None
        register()
        print(json.dumps(own_calls))
    """
    found, log = run(tmp_path, script, ON)
    assert found == []
    assert log == ["lora-autotune: the server's own kernels run: TypeError: 'NoneType' object is not callable"]


@pytest.mark.parametrize("lacking", ["lora_expand_op._lora_expand", "fused_moe_lora_op._fused_moe_lora"])
def test_where_one_op_cannot_be_ours_none_is(lacking: str, tmp_path: Path) -> None:
    """So the log's line, by which the server's own kernels run, is true of all of them."""
    change = f"from vllm.lora.ops.triton_ops import fused_moe_lora_op, lora_expand_op; del {lacking}"
    (line,) = log_of_the_servers_own(tmp_path, change, ON)
    assert "the server's own kernels run: AttributeError" in line


def test_files_in_autotune_are_launched_and_unknown_words_told(tmp_path: Path) -> None:
    server = tmp_path / "server"
    tuned(server / "autotune", {"block_m": 64})
    script = """
        register()
        from autotune.contract.launch import Launch
        launched, run = [], Launch.run

        def noting(launch):
            launched.append(launch.options.get("BLOCK_M", launch.fn.__name__))
            return run(launch)

        Launch.run = noting
        layer = Layer.random()
        torch.ops.vllm.lora_shrink(layer.x, layer.a, layer.low, *metadata(), 1.0)
        print(json.dumps([launched, own_calls]))
    """
    environment = {"LORA_AUTOTUNE_KERNELS": "dense,fast", "VLLM_TUNED_CONFIG_FOLDER": str(server)}
    found, log = run(tmp_path, script, environment)
    assert found == [["zero_kernel", 64], []]
    line, ignored = log
    assert line.endswith(f"configs: {server}/autotune, 2 configs in 2 files")
    assert ignored.endswith("got 'fast', allowed: 1, dense, moe; ignored")


def test_an_entry_of_zeros_leaves_the_call_to_the_servers_own(tmp_path: Path) -> None:
    folder = tuned(tmp_path / "own", {})
    shrinks = folder / vllm_file("SHRINK")
    zeros = dict.fromkeys(json.loads(shrinks.read_text())["4"]["3"]["7"]["8"]["48"], 0)
    shrinks.write_text(json.dumps({"4": {"3": {"7": {"8": {"48": zeros}}}}}))
    script = """
        theirs = Layer.random().run()
        register()
        own_calls.clear()
        print(json.dumps([Layer.random().run().equals(theirs), own_calls]))
    """
    found, log = run(tmp_path, script, {**ON, "LORA_AUTOTUNE_CONFIG_DIR": str(folder)})
    assert found == [True, ["lora_shrink"]]
    assert sum("files say that it is the faster one" in line for line in log) == 1


W13 = "ALIGNED_MOE_LORA_W13"
EXPERTS = {"block_m": 16, "block_n": 32, "block_k": 32, "column_blocks": 1, "num_warps": 2, "num_stages": 2}
LAUNCHED = """
    theirs = Experts.random().run()
    register()
    own_calls.clear()
    from autotune.contract.launch import Launch
    launched, run = [], Launch.run

    def noting(launch):
        names = "block_m", "block_n", "block_k", "num_warps", "num_stages"
        options = {name.lower(): value for name, value in launch.options.items()}
        launched.append({**{name: options[name] for name in names}, "column_blocks": launch.args[-1]})
        return run(launch)

    Launch.run = noting
    same = Experts.random().run().equals(theirs)
    print(json.dumps([launched, own_calls, same]))
"""


@pytest.mark.parametrize("block_m", [16, 64])
def test_experts_run_an_entry_that_was_timed_with_the_servers_block_m(block_m: int, tmp_path: Path) -> None:
    folder = tuned_experts(tmp_path / "own", {**EXPERTS, "block_m": block_m})
    environment = {"LORA_AUTOTUNE_KERNELS": "moe", "LORA_AUTOTUNE_CONFIG_DIR": str(folder)}
    (launched, own_calls, same), log = run(tmp_path, LAUNCHED, environment)
    assert [(config["block_m"], config == EXPERTS) for config in launched] == [(16, block_m == 16)]
    assert (own_calls, same) == ([], True)
    (line,) = log
    assert line.endswith(f"configs: {folder}, 1 configs in 1 files, 1 for the experts")


def test_experts_of_zeros_are_the_servers(tmp_path: Path) -> None:
    folder = tuned_experts(tmp_path / "own", dict.fromkeys(EXPERTS, 0))
    environment = {"LORA_AUTOTUNE_KERNELS": "moe", "LORA_AUTOTUNE_CONFIG_DIR": str(folder)}
    found, log = run(tmp_path, LAUNCHED, environment)
    assert found == [[], ["fused_moe_lora"], True]
    assert sum("files say that it is the faster one" in line for line in log) == 1


@pytest.mark.parametrize(
    ("file_name", "entry", "about", "said"),
    [
        (f"NVIDIA_H100_{W13}.json", EXPERTS, None, f"_{W13}.json of this GPU"),
        ("", {**EXPERTS, "block_n": 24}, None, "block_n: got 24, allowed: powers of two"),
        ("", EXPERTS, "of another day", "was tuned on another version of the kernel"),
        ("", None, None, "no valid JSON at line 1"),
    ],
)
def test_files_that_are_not_for_here_are_told_once_and_defaults_run(
    file_name: str, entry: dict[str, int] | None, about: str | None, said: str, tmp_path: Path
) -> None:
    folder = tuned_experts(tmp_path / "own", entry or EXPERTS, file_name)
    file = next(folder.iterdir())
    if entry is None:
        file.write_text("{")
    if about:
        source = {"source": "builtin", "kernel_fingerprint": about, "environment": {"gpu": gpu_name()}}
        key = ["2", "2", "9", "16", "40", "24"]
        record = {"file": file.name, "key": key, "kind": "own", "study": "s", "config": entry, "provenance": source}
        (folder / provenance.FILE_NAME).write_text(json.dumps({"schema_version": 1, "entries": [record]}))
    environment = {"LORA_AUTOTUNE_KERNELS": "moe", "LORA_AUTOTUNE_CONFIG_DIR": str(folder)}
    (launched, own_calls, same), log = run(tmp_path, LAUNCHED, environment)
    assert [config["block_n"] for config in launched] == [128]
    assert (own_calls, same) == ([], True)
    assert sum(said in line and "calls run as without an entry" in line for line in log) == 1


def tuned_experts(folder: Path, entry: dict[str, int], file_name: str = "") -> Path:
    """Writes a file of the experts' first product with one entry; by default that of the GPU at hand."""
    folder.mkdir(parents=True)
    table = {"2": {"2": {"9": {"16": {"40": {"24": entry}}}}}}
    (folder / (file_name or vllm_file(W13))).write_text(json.dumps(table))
    return folder


def tuned(folder: Path, change: dict[str, int]) -> Path:
    """Writes files for the GPU at hand, with one entry each."""
    config = {"block_m": 16, "block_n": 16, "block_k": 16, "split_k": 1, "num_warps": 4, "num_stages": 1, "num_ctas": 1}
    folder.mkdir(parents=True)
    for name in ("SHRINK", "EXPAND_TRUE"):
        table = {"4": {"3": {"7": {"8": {"48": {**config, **change}}}}}}
        (folder / vllm_file(name)).write_text(json.dumps(table))
    return folder
