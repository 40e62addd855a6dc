"""What the plug-in records of SGLang's backend: over a stand-in of the package, and over released ones."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune import servers
from autotune.servers.plugin import notices, tracer
from autotune.servers.sglang import served_modules
from autotune.servers.sglang.plugin import install, register
from autotune.servers.trace import Trace, read
from autotune.servers.trace_line import VARIABLE
from tests.builders import served_sglang
from tests.builders.csgmv_layers import HIDDEN, LAYERS, POOL, RANK, SLOTS, batch_info


def forget() -> None:
    served_modules.imported.cache_clear()
    tracer.of.cache_clear()
    notices._told.clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "sglang"]:
        del sys.modules[name]


@pytest.fixture(params=["stand-in", *served_sglang.FOLDERS])
def release(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A process that is traced, before the plug-in is loaded."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "trace.jsonl"))
    found = "0.5.23" if request.param == "stand-in" else request.param
    if request.param == "stand-in":
        monkeypatch.syspath_prepend(served_sglang.install(tmp_path / "site"))
    else:
        monkeypatch.syspath_prepend(request.getfixturevalue("served")(f"sglang-{request.param}"))
    forget()
    yield found
    install.restore()
    forget()


def backend(info: Any) -> Any:
    """The backend that the server's registry comes to, for a batch; its own functions do nothing."""
    own = importlib.import_module("sglang.srt.lora.backend.chunked_backend")
    for op in ("shrink", "expand"):
        setattr(own, f"chunked_sgmv_lora_{op}_forward", lambda x, **_: x)
    made = importlib.import_module("sglang.srt.lora.backend.lora_registry").get_backend_from_name("csgmv")
    found = made.__new__(made)
    found.max_chunk_size, found.batch_info = 128, info
    return found


def info(**of_batch: Any) -> Any:
    return batch_info(served_modules.imported(served_modules.BATCH).LoRABatchInfo, **of_batch)


def traced(tmp_path: Path) -> Trace:
    found = tracer.of("sglang")
    assert found is not None
    found.save()
    return read(tmp_path / "trace.jsonl", {name: servers.get(name).command_line.ops for name in servers.names()})


def test_lookups_are_recorded_by_layer_and_chunk_size(release: str, tmp_path: Path) -> None:
    register()
    register()
    made = backend(info(chunk_size=32))
    for layer in LAYERS:
        layer.run(made, on_cpu=release not in ("0.5.15", "0.5.21"))
    found = traced(tmp_path)
    lookups = {(each.seen.op, *dict(each.seen.dims).values()): dict(each.seen.details) for each in found.lookups}
    shrinks = {("shrink", HIDDEN, RANK, slices) for slices in (1, 2, 3)}
    widths = {("expand", sum(layer.widths), RANK, len(layer.widths)): layer.widths for layer in LAYERS}
    assert set(lookups) == shrinks | set(widths)
    told = {key: details["slice_widths"] for key, details in lookups.items() if key[0] == "expand"}
    # Two layers share a key and differ in widths: both are recorded, and one stands for the key here.
    assert {key: sum(value) if isinstance(value, tuple) else value for key, value in told.items()} == {
        key: sum(value) for key, value in widths.items()
    }
    assert {dict(each.seen.details)["num_loras"] for each in found.lookups} == {len(POOL.ranks)}
    assert {each.launches.largest for each in found.lookups} == {32}
    assert found.batches == {"tokens": {}, "samples": {}}


def test_batches_with_adapters_are_counted_by_chunk_size_and_lm_heads_apart(
    release: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = importlib.import_module("sglang.srt.lora.backend.chunked_backend").ChunkedSgmvLoRABackend

    def prepare(self: Any, batch: Any, indices: list[int], ranks: list[int], *_: Any, **__: Any) -> None:
        self.batch_info, self.lm_head_batch_info = batch, info(chunk_size=16)

    monkeypatch.setattr(own, "prepare_lora_batch", prepare)
    register()
    made = backend(None)
    for slots, chunk_size in ((SLOTS, 128), (SLOTS, 128), (SLOTS, 16), ((0, 0), 16)):
        made.prepare_lora_batch(info(slots=slots, chunk_size=chunk_size), list(slots), list(POOL.ranks), [], False)
    weights = LAYERS[-1].prepared()[0]
    weights(made)
    assert traced(tmp_path).batches == {"tokens": {16: 1, 128: 2}, "samples": {16: 3}}


def test_ours_and_the_recorder_work_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, device: str
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "trace.jsonl"))
    monkeypatch.setenv("LORA_AUTOTUNE_KERNELS", "1")
    monkeypatch.syspath_prepend(served_sglang.install(tmp_path / "site"))
    forget()
    request.addfinalizer(forget)
    request.addfinalizer(install.restore)
    from autotune.servers.sglang.served_modules import CSGMV
    from autotune.servers.sglang.served_releases import CSGMV_SOURCES

    monkeypatch.setitem(CSGMV_SOURCES, "0.5.23", CSGMV.origin().source_hash)
    register()
    made = backend(info(device=device))
    made._ranks = POOL.ranks
    assert [each.__name__ for each in type(made).__mro__[:3]] == [
        "TracedLoraAutotuneChunkedSgmvLoRABackend",
        "TracedBackend",
        "LoraAutotuneChunkedSgmvLoRABackend",
    ]
    LAYERS[0].run(made, device=device)
    assert len(traced(tmp_path).lookups) == 2
