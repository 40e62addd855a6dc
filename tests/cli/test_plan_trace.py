"""``--trace``: what a running server looked up, planned, tuned and checked by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.servers.trace_line import SeenLaunches, SeenLookup
from tests.builders.traces import linear, write
from tests.conftest import Cli


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    lookups = [*linear(5120, 5120), *linear(2560, 32000, rows="samples")]
    path = tmp_path / "server.jsonl"
    counted = {"tokens": {16: 90, 512: 10}, "samples": {3: 100}}
    return write(path, [(each, SeenLaunches(40, {1, 16}, 8192)) for each in lookups], counted)  # type: ignore[arg-type]


def test_a_plan_needs_nothing_but_the_trace_and_shows_its_weights(cli: Cli, trace: Path) -> None:
    printed = cli.ok("plan --trace", trace)
    assert "m: 16 (90.0%), 512 (10.0%)" in printed
    assert "m of sampled rows: 3" in printed
    assert "40 layers" in printed
    assert "counted 100 batches with adapters" in printed
    plan = json.loads(cli.ok("plan --json --trace", trace))
    assert plan["sizes"] == {"16": 0.9, "512": 0.1}
    assert {study["weight"] for study in plan["studies"]} == {0.9, 0.1, 1.0}
    assert plan["model"] == {"name": "server", "origin": f"traced: vllm 0.33.0, {trace}"}


def test_a_chunk_size_that_no_server_has_is_the_flags(cli: Cli, tmp_path: Path) -> None:
    dims, details = (("K", 1024), ("R", 64), ("S", 1)), (("num_loras", 1),)
    lookup = SeenLookup("sglang", "0.5.23", "shrink", dims, details, "float16", "tokens")
    path = write(tmp_path / "server.jsonl", [(lookup, SeenLaunches(28, set(), 16))], {})
    refused = cli("plan --chunk-sizes 48 --trace", path)
    assert refused.exit_code == 2
    assert refused.stderr == "Error: --chunk-sizes: got 48, allowed: 16, 32, 64, 128\n"


def test_a_servers_command_beside_it_is_refused_as_what_it_is(cli: Cli, trace: Path) -> None:
    command = "vllm serve Qwen/Qwen3-8B --tensor-parallel-size 2"
    refused = cli("plan --trace", trace, "--serve-command", Path(command))
    assert refused.exit_code == 2
    told = "Error: --serve-command: what it says of the server is in the trace; leave it out"
    assert refused.stderr.splitlines()[-1] == told


def test_how_long_it_takes_is_told_in_words(cli: Cli, trace: Path) -> None:
    assert "studies, less than a minute on an H100" in cli.ok("plan --trace", trace)


def test_its_studies_are_created_run_and_exported_as_any_plans(cli: Cli, tmp_path: Path) -> None:
    """An MLP's output layer of Qwen3-Embedding-0.6B, of which there are recordings."""
    lookups = [
        SeenLookup("sglang", "0.5.23", op, (("K", k), ("R", 64), ("S", 1)), details, "float16", "tokens")
        for op, k, details in (
            ("shrink", 3072, (("num_loras", 1),)),
            ("expand", 1024, (("slice_widths", (1024,)), ("num_loras", 1))),
        )
    ]
    path = write(tmp_path / "server.jsonl", [(each, SeenLaunches(28, set(), 16)) for each in lookups], {})
    created = cli.ok("study create --backend replay --trace", path).split()
    cli.ok("tune --backend replay --trials 5 --trace", path, "--save-json-dir", tmp_path / "out")
    assert len(created) == len(json.loads(cli.ok("study list --json"))) == 2
    files = sorted(file.name.partition(",device")[0] for file in (tmp_path / "out").rglob("lora_*.json"))
    assert files == ["lora_expand,K=1024,R=64,S=1", "lora_shrink,K=3072,R=64,S=1"]
    check = cli("config check --trace", path, tmp_path / "out")
    assert check.exit_code == 0, check.output


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("plan Qwen3-8B --trace TRACE", "leave one out"),
        ("plan", "MODEL: not given"),
        ("plan --trace TRACE --lora-rank 16", "--lora-rank: is in the trace"),
        ("plan --trace TRACE --tp 2", "--tp: is in the trace"),
        ("plan --trace TRACE --traffic TRACE", "--traffic: is in the trace"),
        ("plan --trace TRACE --runtime sglang", "--runtime: got sglang"),
        ("plan --trace TRACE --chunk-sizes 16", "--chunk-sizes: is of no use with a trace of vllm"),
        ("plan --trace TRACE --dtype float16", "--dtype: got float16"),
        ("plan --trace none.jsonl", "cannot read none.jsonl (No such file or directory)"),
        ("tune --trace TRACE --model Qwen3-8B", "leave one out"),
        ("tune --trace TRACE --hidden-size 64", "--hidden-size: describes a single problem"),
        ("tune --trace TRACE --prove", "--prove: runs a model"),
        ("study create --plan Qwen3-8B --trace TRACE", "leave one out"),
    ],
)
def test_what_contradicts_a_trace_is_refused(cli: Cli, trace: Path, words: str, part: str) -> None:
    result = cli(words.replace("TRACE", str(trace)))
    assert result.exit_code == 2
    assert part in result.output
