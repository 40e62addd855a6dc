"""The plug-in's backend in the place of SGLang's: over a stand-in of the package, and over released ones
(``--served DIR``)."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo.testing

from autotune.contract import Call
from autotune.servers import provenance
from autotune.servers.plugin import notices
from autotune.servers.sglang import served_modules
from autotune.servers.sglang.plugin import install, register
from autotune.servers.sglang.served_modules import CSGMV
from autotune.servers.sglang.served_releases import CSGMV_SOURCES
from autotune.servers.sglang.server import SGLANG
from tests.builders import served_sglang
from tests.builders.captured_call import captured
from tests.builders.child import run_code
from tests.builders.csgmv_layers import HIDDEN, LAYERS, POOL, RANK, SLOTS, LoraLayer, batch_info
from tests.builders.gpu_at_hand import gpu_name

STAND_IN = "stand-in"
OPS = ("chunked_sgmv_lora_shrink_forward", "chunked_sgmv_lora_expand_forward")


@dataclass
class FakeServer:
    """A server's process.

    Attributes:
        release: Of its package.
        device: Where its tensors are.
        own_calls: The calls that its own functions got.
    """

    release: str
    device: str
    own_calls: list[str] = field(default_factory=list)

    @property
    def backend(self) -> Any:
        """Makes the backend that the server's registry comes to."""
        made = importlib.import_module("sglang.srt.lora.backend.lora_registry").get_backend_from_name("csgmv")
        backend = made.__new__(made)
        backend.max_chunk_size = 128
        backend._ranks = POOL.ranks
        return backend

    def info(self, **of_batch: Any) -> Any:
        return batch_info(served_modules.imported(served_modules.BATCH).LoRABatchInfo, device=self.device, **of_batch)

    def run(self, layer: LoraLayer, **of_batch: Any) -> torch.Tensor:
        backend = self.backend
        backend.batch_info = self.info(**of_batch)
        slots = of_batch.get("slots", SLOTS)
        return layer.run(backend, len(slots), self.release not in ("0.5.15", "0.5.21"), self.device)


def forget() -> None:
    served_modules.imported.cache_clear()
    notices._told.clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "sglang"]:
        del sys.modules[name]


def make_own_ops_work(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the package's own functions run where there is no GPU, and notes their calls."""
    backend = importlib.import_module("sglang.srt.lora.backend.chunked_backend")
    for module in (served_modules.imported(served_modules.SHRINK), served_modules.imported(served_modules.EXPAND)):
        for op, config in (("shrink", (16, 32)), ("expand", (16, 16))):
            values = dict(zip(("BLOCK_N", "BLOCK_K"), config, strict=True))
            if hasattr(module, f"get_lora_{op}_config"):
                monkeypatch.setattr(module, f"get_lora_{op}_config", lambda values=values, **_: values)
            if hasattr(module, kernel := f"_chunked_lora_{op}_kernel"):
                monkeypatch.setattr(module, kernel, getattr(module, kernel).fn)
    for name in OPS:
        own = getattr(backend, name)

        def noting(own: Any = own, name: str = name, **arguments: Any) -> Any:
            server.own_calls.append(name)
            return own(**arguments)

        monkeypatch.setattr(backend, name, noting)


@pytest.fixture(params=[STAND_IN, *served_sglang.FOLDERS])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> Iterator[FakeServer]:
    """A process with the switch on, before the plug-in is loaded."""
    monkeypatch.setenv("LORA_AUTOTUNE_KERNELS", "1")
    for name in ("LORA_AUTOTUNE_CONFIG_DIR", "SGLANG_LORA_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    if request.param == STAND_IN:
        found = FakeServer("0.5.23", device)
        monkeypatch.syspath_prepend(served_sglang.install(tmp_path / "site"))
        monkeypatch.setitem(CSGMV_SOURCES, "0.5.23", CSGMV.origin().source_hash)
    else:
        found = FakeServer(request.param, device)
        monkeypatch.syspath_prepend(request.getfixturevalue("served")(f"sglang-{request.param}"))
    forget()
    make_own_ops_work(found, monkeypatch)
    yield found
    install.restore()
    forget()


stand_in_alone = pytest.mark.parametrize("server", [STAND_IN], indirect=True)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{layer.method}-{layer.widths}")
@pytest.mark.parametrize(
    "of_batch",
    [{}, {"graph": 9}, {"chunk_size": 32, "slots": (2, 1) * 40}, {"slots": (1, 2, 2)}],
    ids=["mixed ranks", "graph", "two in turn", "aligned"],
)
def test_ours_compute_what_the_servers_own_do(server: FakeServer, layer: LoraLayer, of_batch: dict[str, Any]) -> None:
    theirs = server.run(layer, **of_batch)
    assert server.own_calls == list(OPS)
    register()
    assert torch.equal(server.run(layer, **of_batch), theirs)
    assert server.own_calls == list(OPS)


OTHER_BATCHES: tuple[dict[str, Any], ...] = (
    {},
    {"slots": (2, 1, 2, 3), "pool": replace(POOL, ranks=(0, 16, 16, 16))},
    {"slots": (3,) * 17 + (1,) * 5, "pool": replace(POOL, ranks=(0, 12, 8, 5))},
    {"slots": (0,) * len(SLOTS)},
    {"slots": (0, 1)},
)
"""Other adapters, ranks and orders, fewer tokens, none with an adapter."""


@stand_in_alone
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{layer.method}-{layer.widths}")
def test_a_captured_layer_follows_the_batch(server: FakeServer, layer: LoraLayer, device: str) -> None:
    own = server.backend
    register()
    ours = server.backend
    info = own.batch_info = ours.batch_info = server.info(graph=9)
    call, base = layer.prepared(device=device)
    start = base.clone()
    again = captured(lambda: call(ours), device)
    for of_batch in OTHER_BATCHES:
        changed = server.info(graph=9, **of_batch)
        for name in ("seg_indptr", "weight_indices", "lora_ranks", "scalings"):
            getattr(info, name).copy_(getattr(changed, name))
        info.permutation[: len(changed.permutation)].copy_(changed.permutation)
        base.copy_(start)
        call(own)
        expected = base.clone()
        base.copy_(start)
        again()
        assert torch.equal(base, expected), of_batch


@stand_in_alone
def test_sampled_rows_have_a_batch_of_their_own(server: FakeServer) -> None:
    register()
    backend = server.backend
    backend.batch_info = None
    x, a = (torch.ones(*shape, device=server.device).half() for shape in ((2, 32), (len(POOL.ranks), 16, 32)))
    low = backend.run_lora_a_sgemm(x, a, pruned_batch_info=server.info(slots=(1, 2)))
    assert low[0, :16].tolist() == [32.0] * 16
    assert low[1, :8].tolist() == [32.0] * 8
    assert not server.own_calls


@stand_in_alone
def test_the_ranks_of_a_batch_are_those_that_it_was_prepared_with(server: FakeServer) -> None:
    """With a rank that no wide access suits among them, none is made; a graph's ranks are looked at on the GPU."""
    register()
    backend, info = server.backend, server.info()
    for ranks, aligned in (((16, 8), 8), ((16, 5), 1)):
        backend.prepare_lora_batch(info, [0, 1], list(ranks), [1.0, 1.0], False)
        call = backend._call(torch.zeros(2, 32), torch.zeros(2, 16, 32), backend.batch_info, 1)
        assert (call.batch.rank_alignment, call.check_ranks) == (aligned, False)
    call = backend._call(torch.zeros(2, 32), torch.zeros(2, 16, 32), server.info(graph=9), 1)
    assert (call.batch.rank_alignment, call.check_ranks) == (8, True)


@stand_in_alone
def test_what_ours_are_not_proven_for_goes_to_the_servers_own(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    register()
    layer = replace(LAYERS[0], dtype=torch.float32)
    for _ in range(2):
        server.run(layer)
    assert server.own_calls == [*OPS, *OPS]
    assert sum("run the server's own kernel where x is torch.float32" in line for line in caplog.messages) == 2


@stand_in_alone
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own import
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{layer.method}-{layer.widths}")
def test_ours_run_behind_what_is_compiled(server: FakeServer, layer: LoraLayer) -> None:
    """As with ``--enable-torch-compile``: nothing of ours is traced, whatever ranks a batch has."""
    register()
    backend = server.backend
    backend.batch_info = server.info()
    call, base = layer.prepared(device=server.device)
    start = base.clone()
    call(backend)
    expected = base.clone()
    torch._dynamo.reset()
    counted = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(lambda: call(backend), backend=counted)
    for ranks in (POOL.ranks, tuple(reversed(POOL.ranks))):
        backend._ranks = ranks
        base.copy_(start)
        compiled()
        assert torch.equal(base, expected)
    assert (server.own_calls, counted.frame_count) == ([], 0)


@stand_in_alone
def test_a_kernel_that_fails_answers_no_request_wrongly(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = server.run(LAYERS[0])
    server.own_calls.clear()
    register()
    drop_in = importlib.import_module("autotune.kernels.csgmv_expand.drop_in").CsgmvExpandDropIn

    def fail(*_: Any) -> None:
        raise RuntimeError("no such instruction\nat all")

    monkeypatch.setattr(drop_in, "output", fail)
    assert torch.equal(server.run(LAYERS[0]), theirs)
    assert server.own_calls == [OPS[1]]


@stand_in_alone
@pytest.mark.parametrize("part", ["outside", "arguments", "lookup", "default_config"])
def test_whatever_fails_of_ours_answers_no_request_wrongly(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As a folder that may be listed but not searched does at the first lookup."""
    theirs = server.run(LAYERS[0])
    server.own_calls.clear()
    (tmp_path / "autotune").mkdir()
    monkeypatch.setenv("SGLANG_LORA_CONFIG_DIR", str(tmp_path))
    register()
    drop_in = importlib.import_module("autotune.kernels.csgmv_expand.drop_in").CsgmvExpandDropIn

    def fail(*_: Any) -> None:
        raise PermissionError("no way\nin")

    monkeypatch.setattr(drop_in, part, fail)
    assert [torch.equal(server.run(LAYERS[0]), theirs) for _ in range(2)] == [True, True]
    assert server.own_calls == [OPS[1], OPS[1]]
    assert "ours failed once (PermissionError: no way)" in caplog.text


@stand_in_alone
def test_a_kernel_that_fails_is_left_out_for_its_shape_alone(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    drop_in = importlib.import_module("autotune.kernels.csgmv_expand.drop_in").CsgmvExpandDropIn

    def fail(*_: Any) -> None:
        raise RuntimeError("no such instruction")

    backend = server.backend
    backend.batch_info = server.info()
    with monkeypatch.context() as broken:
        broken.setattr(drop_in, "output", fail)
        LAYERS[0].run(backend, device=server.device)
    for layer, own_calls in ((LAYERS[0], [OPS[1]]), (LAYERS[1], [])):
        server.own_calls.clear()
        layer.run(backend, device=server.device)
        assert server.own_calls == own_calls


def note(launched: list[Any], drop_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes the configs that a kernel is launched with, and not those that are compiled ahead."""
    own = drop_in.launches

    def launches(arguments: Any, config: Any) -> Any:
        if not arguments.x.is_meta:
            launched.append(config)
        return own(arguments, config)

    monkeypatch.setattr(drop_in, "launches", launches)


@stand_in_alone
def test_a_tuned_config_is_found_by_the_servers_rule(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[Any] = []
    for op in ("shrink", "expand"):
        note(launched, importlib.import_module(f"autotune.kernels.csgmv_{op}.drop_in").DROP_IN, monkeypatch)
    register()
    backend = server.backend
    backend.batch_info = server.info()
    call = importlib.import_module("autotune.kernels.csgmv_expand.drop_in").DROP_IN.lookup(
        backend._call(torch.zeros(2, 48).half(), torch.zeros(4, 80, 16).half(), backend.batch_info, 3)
    )
    file = tmp_path / "autotune" / SGLANG.file_name(gpu_name(), call)
    file.parent.mkdir(parents=True)
    tuned = {"BLOCK_N": 32, "BLOCK_K": 16, "num_warps": 1}
    file.write_text(json.dumps({"16": tuned}))
    install.restore()
    monkeypatch.setenv("SGLANG_LORA_CONFIG_DIR", str(tmp_path))
    register()
    server.run(LAYERS[0])
    assert launched[1] == tuned
    assert launched[0]["num_warps"] == 2  # ours by default: there is no file of the shrink

    file.write_text(json.dumps({"16": dict.fromkeys(tuned, 0)}))
    install.restore()
    register()
    server.run(LAYERS[0])
    assert server.own_calls == [OPS[1]], "zeros leave the call to the server's own"


@stand_in_alone
@pytest.mark.parametrize("entry", [{"BLOCK_N": 64, "BLOCK_K": 32}, {"BLOCK_N": 0, "BLOCK_K": 0}], ids=["ours", "zeros"])
@pytest.mark.parametrize("workload", ["prefill", "decode", "mixed"])
@pytest.mark.parametrize("op", ["shrink", "expand"])
def test_what_was_timed_on_one_kind_of_batches_runs_the_other_by_default(
    server: FakeServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    op: str,
    workload: str,
    entry: dict[str, int],
) -> None:
    """Zeros of one kind say nothing of the other either."""
    launched: list[Any] = []
    drop_in = importlib.import_module(f"autotune.kernels.csgmv_{op}.drop_in").DROP_IN
    note(launched, drop_in, monkeypatch)
    width = {"shrink": HIDDEN, "expand": sum(LAYERS[0].widths)}[op]
    call = Call("sglang", op, {"K": width, "R": RANK, "S": 3, "chunk_size": 16})
    file = SGLANG.file_name(gpu_name(), call)
    (tmp_path / "autotune" / file).parent.mkdir(parents=True)
    (tmp_path / "autotune" / file).write_text(json.dumps({"16": entry}))
    about = {"problem": {"workload": workload, "decode_requests": [8]}}
    side_car = provenance.text([provenance.Record(file, ("16",), "own", "s", dict(entry), provenance=about)])
    (tmp_path / "autotune" / provenance.FILE_NAME).write_text(side_car)
    monkeypatch.setenv("SGLANG_LORA_CONFIG_DIR", str(tmp_path))
    register()
    kinds: dict[str, dict[str, Any]] = {"prefill": {"slots": (1, 3, 2) * 22}, "decode": {"slots": (1, 3), "graph": 9}}
    for kind, of_batch in kinds.items():
        launched.clear()
        server.own_calls.clear()
        server.run(LAYERS[0], **of_batch)
        if workload not in (kind, "mixed"):
            assert not server.own_calls
            assert set(launched[0]) > set(entry), "ours by default has warps and stages, too"
        else:
            assert launched == ([entry] if entry["BLOCK_N"] else []), kind
            assert len(server.own_calls) == 1 - len(launched)


@stand_in_alone
@pytest.mark.parametrize("of_batch", [{}, {"chunk_size": 32}, {"graph": 7}, {"graph": 9}], ids=str)
def test_a_shrink_of_several_segments_a_block_computes_the_same(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_batch: dict[str, Any]
) -> None:
    """Where there are enough of them, which a graph's buffer of nine has not."""
    slots = (1, 3, 2) * 19
    theirs = server.run(LAYERS[0], slots=slots, **of_batch)
    launched: list[int] = []
    module = importlib.import_module("autotune.kernels.csgmv_shrink.launcher")
    made = module.Launch

    def noted(*args: Any) -> Any:
        launched.append(args[3]["BLOCK_M"])
        return made(*args)

    monkeypatch.setattr(module, "Launch", noted)
    monkeypatch.setattr("autotune.kernels.csgmv_shrink.joining._ENOUGH_BLOCKS", 1)
    call = Call("sglang", "shrink", {"K": HIDDEN, "R": RANK, "S": 3, "chunk_size": 16})
    file = tmp_path / "autotune" / SGLANG.file_name(gpu_name(), call)
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"16": {"BLOCK_N": 16, "BLOCK_K": 32, "SEGMENTS": 4}}))
    monkeypatch.setenv("SGLANG_LORA_CONFIG_DIR", str(tmp_path))
    register()
    ours = server.run(LAYERS[0], slots=slots, **of_batch)
    assert torch.equal(ours, theirs)
    assert launched[-1] == (16 if of_batch.get("graph") == 9 else 4 * of_batch.get("chunk_size", 16))


@stand_in_alone
@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"LORA_AUTOTUNE_KERNELS": "0"}, ""),
        ({"SGLANG_ENABLE_DETERMINISTIC_INFERENCE": "1"}, "ours do not do deterministic inference"),
        ({"LORA_AUTOTUNE_KERNELS": "moe"}, "none of ours stands in for moe yet"),
    ],
    ids=["off", "deterministic", "moe"],
)
def test_the_servers_own_backend_stays(
    server: FakeServer,
    change: dict[str, str],
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    register()
    assert type(server.backend).__name__ == "ChunkedSgmvLoRABackend"
    assert (line in caplog.text) if line else not caplog.messages


@stand_in_alone
def test_an_unknown_release_keeps_its_own(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(CSGMV_SOURCES, "0.5.23", "0")
    register()
    assert type(server.backend).__name__ == "ChunkedSgmvLoRABackend"
    (line,) = caplog.messages
    assert "the LoRA ops of sglang 0.5.23 have sources" in line


@stand_in_alone
def test_it_is_registered_once_and_says_so_once(server: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        register()
    assert [each.__name__ for each in type(server.backend).__mro__[:3]] == [
        "LoraAutotuneChunkedSgmvLoRABackend",
        "OurCsgmv",
        "ChunkedSgmvLoRABackend",
    ]
    (line,) = caplog.messages
    assert "sglang's csgmv_shrink, csgmv_expand run this project's kernels; configs: none" in line


@stand_in_alone
def test_a_backend_that_cannot_be_made_ours_stays(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    register()
    monkeypatch.delattr("sglang.srt.lora.backend.chunked_backend.chunked_sgmv_lora_expand_forward")
    assert type(server.backend).__name__ == "ChunkedSgmvLoRABackend"
    assert "the server's own kernels run: AttributeError" in caplog.text


FOREIGN = "optuna sklearn scipy click typer sqlalchemy cattrs rich filelock platformdirs pebble safetensors hypothesis"

SERVER = """
import json, sys, torch
device = "DEVICE"
from autotune.servers.sglang.served_modules import CSGMV
from autotune.servers.sglang.served_releases import CSGMV_SOURCES
CSGMV_SOURCES["0.5.23"] = CSGMV.origin().source_hash
from autotune.servers.sglang.plugin import register
register()
from autotune.kernels.csgmv_shrink import drop_in
drop_in._FEW_COLUMNS = 1 << 20
from sglang.srt.lora.backend.lora_registry import get_backend_from_name
from sglang.srt.lora.utils import LoRABatchInfo
from tests.builders.csgmv_layers import LAYERS, batch_info
backend = get_backend_from_name("csgmv")(4, device, None)
backend.batch_info = batch_info(LoRABatchInfo, device=device)
for layer in LAYERS:
    layer.run(backend, device=device)
print(json.dumps([type(backend).__name__, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def test_it_loads_no_package_that_a_server_may_lack(tmp_path: Path, device: str) -> None:
    """Nor does a call: a server's environment has torch and Triton, the rest need not be there."""
    package = served_sglang.install(tmp_path / "site")
    done = run_code(package, SERVER.replace("DEVICE", device), LORA_AUTOTUNE_KERNELS="1")
    assert done.returncode == 0, done.stderr
    made, loaded = json.loads(done.stdout)
    assert made == "LoraAutotuneChunkedSgmvLoRABackend"
    assert not set(FOREIGN.split()) & set(loaded)
    assert "run this project's kernels" in done.stderr
