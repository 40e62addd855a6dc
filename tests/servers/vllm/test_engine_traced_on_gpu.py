"""The recorder in the real engine of the vLLM that is installed: only with ``--device cuda``, where vLLM runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune.bench import rounds, serve
from autotune.bench.serve import ServeOptions
from autotune.environment import installed_version
from autotune.servers import trace_line
from autotune.servers.trace import read
from autotune.servers.vllm import facts
from autotune.servers.vllm.server import VLLM
from tests.builders import entry_points
from tests.conftest import Cli

MODEL = "Qwen3-8B --set num_hidden_layers=4 --lora-rank 16 --max-loras 4"


@pytest.fixture(autouse=True)
def _on_gpu(device: str) -> None:
    if device != "cuda" or installed_version(facts.NAME) is None:
        pytest.skip("needs --device cuda and vLLM")


def lookups(shapes: Iterable[Mapping[str, Any]]) -> list[tuple[str, int, int, int, int]]:
    return sorted({(each["op"], each["max_loras"], each["num_slices"], each["k"], each["n"]) for each in shapes})


def test_a_run_of_the_engine_looks_up_what_is_planned(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process, with decode batches of 16 that replay graphs, and prefills of 512 tokens that do not."""
    entry_points.put_on_path(tmp_path / "site", monkeypatch)
    trace = tmp_path / "trace.jsonl"
    (recorder,) = serve.parse_variants([f"T:{trace_line.VARIABLE}={trace}"])
    options = ServeOptions("Qwen3-8B", None, 16, 4, 4, (), {"num_hidden_layers": 4}, (16,), (2, 256), 1, (recorder,))
    rounds.run(replace(serve.prepare(options, VLLM), variants=(recorder,)), print)
    print(trace.read_text())
    found = read(trace, {facts.NAME: VLLM.command_line.ops})
    planned = json.loads(cli.ok("plan", MODEL, "--runtime vllm --from-tables --json"))
    seen = lookups({"op": each.seen.op, **dict(each.seen.dims)} for each in found.lookups)
    assert seen == lookups(planned["shapes"])
    layers = {each.launches.layers for each in found.lookups if dict(each.seen.dims)["num_slices"] == 3}
    assert layers == {4}
    assert 16 in found.captured
    assert {16, 512} <= set(found.batches["tokens"])
    by_trace = json.loads(cli.ok("plan --json --trace", trace))
    assert lookups(by_trace["shapes"]) == seen
