"""``tune --prove``: the engine is run with what was written, and no reader takes the table for a config file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.cli.main import main  # noqa: F401  (loads the command before its server is replaced)
from autotune.servers.vllm.server import Vllm
from tests.builders.fake_engine import FakeEngine
from tests.builders.fake_engine_process import MOOD
from tests.conftest import Cli

SERVER = "--runtime vllm --lora-rank 16 --max-loras 4 --dtype float16"
PLAN = f"{SERVER} --target-modules o_proj --m-values 16 --from-tables"
TUNE = f"tune --model small {PLAN} --backend replay --trials 5"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model with one recorded layer, and the stand-in for vLLM's engine."""
    monkeypatch.setattr(Vllm, "engine", lambda self: FakeEngine())
    sizes = {"hidden_size": 5120, "num_attention_heads": 40, "intermediate_size": 64, "num_key_value_heads": 40}
    Path("small").mkdir()
    about = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "num_hidden_layers": 1, "vocab_size": 2000}
    Path("small/config.json").write_text(json.dumps({**about, **sizes, "head_dim": 128}))


def test_the_engines_table_is_kept_beside_the_files(cli: Cli) -> None:
    said = cli.ok(TUNE, "--save-json-dir tuned --prove")
    assert "B beside the defaults: -0.99 ms at decode 1, " in said
    assert "one process of each cannot tell" in said
    kept = json.loads(Path("tuned/autotune-served.json").read_text())
    assert [each["variant"] for each in kept["processes"]] == list("ABCN")
    assert kept["verdicts"]
    assert "0 findings" in cli.ok("config check tuned --model small", PLAN.replace("--dtype float16", ""))
    Path("other").mkdir()
    assert "autotune-served" not in cli("config diff tuned other").stdout
    rounds = cli.ok(TUNE, "--save-json-dir tuned --json-overwrite --prove")
    assert "B beside the defaults" in rounds


def test_what_was_proven_is_a_round_of_bench_serve(cli: Cli) -> None:
    cli.ok(TUNE, "--save-json-dir tuned --prove")
    done = cli("bench serve small --dir tuned --lora-rank 16 --max-loras 4 --rounds 2")
    assert (done.exit_code, done.stderr.count("round 1"), done.stderr.count("round 2")) == (0, 0, 4)


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (f"{TUNE} --prove", ["--prove", "--save-json-dir"]),
        (f"{TUNE} --save-json-dir tuned --tp 2 --prove", ["--prove", "--tp 2"]),
        (f"tune {Cli.SHRINK} --save-json-dir tuned --prove", ["--prove", "--model"]),
    ],
)
def test_what_cannot_be_proven_is_refused_before_anything_is_tuned(cli: Cli, command: str, parts: list[str]) -> None:
    done = cli(command)
    assert done.exit_code == 2
    assert all(part in done.stderr for part in parts), done.stderr
    assert not Path("tuned").exists()
    assert not Path("autotune.db").exists()


def test_an_engine_that_dies_leaves_the_files(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MOOD, "dies")
    done = cli(TUNE, "--save-json-dir tuned --prove")
    assert (done.exit_code, "variant A" in done.stderr) == (1, True)
    assert Path("tuned/NVIDIA_H200_SHRINK.json").exists()
