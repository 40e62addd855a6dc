"""``bench serve``: the table, its JSON and HTML, and what is refused before an engine starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.bench import serve_folder
from autotune.cli.main import main  # noqa: F401  (loads the command before its server is replaced)
from autotune.model import fields
from autotune.servers.vllm.server import Vllm
from tests.builders.fake_engine import FakeEngine
from tests.builders.fake_engine_process import MOOD
from tests.conftest import Cli

SMALL = (
    "--set num_hidden_layers=1 --set hidden_size=64 --set intermediate_size=64 --set vocab_size=2000 --set head_dim=8"
)
COMMAND = f"bench serve Qwen3-8B {SMALL} --dir tuned --lora-rank 8 --max-loras 2 --decode 1,16 --rounds 2"


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Vllm, "engine", lambda self: FakeEngine())
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "NVIDIA_H200_SHRINK.json").write_text("{}")


def test_the_table_says_what_a_folder_is_worth(cli: Cli) -> None:
    printed = cli.ok(COMMAND)
    assert "Qwen3-8B on NVIDIA H200, fake 1.0" in printed
    assert "B is faster than the defaults at decode 1, decode 16, prefill 8x1024" in printed
    assert "the same greedy answers as the defaults to all 4 prompts" in printed


def test_what_each_process_showed_is_in_the_tables(cli: Cli) -> None:
    printed = cli.ok(COMMAND)
    assert "_lora_shrink_kernel" in printed
    assert "launches a step" in printed
    assert "no Triton kernel was compiled while phases were timed" in printed


def test_files_of_the_builtin_kernels_are_timed_by_the_plugin(cli: Cli, tmp_path: Path) -> None:
    inside = tmp_path / "tuned" / "autotune"
    inside.mkdir()
    (tmp_path / "tuned" / "NVIDIA_H200_SHRINK.json").rename(inside / "NVIDIA_H200_SHRINK.json")
    found = json.loads(cli.ok(COMMAND, "--json"))
    assert [each["variant"] for each in found["processes"]] == list("ADCNNCDA")
    plugin = found["processes"][1]
    assert plugin["environment"] == {"LORA_AUTOTUNE_KERNELS": "1", "LORA_AUTOTUNE_CONFIG_DIR": str(inside.resolve())}
    assert plugin["kernels_of"] == ["builtin"]
    assert plugin["files_read"] == [], "the server's own variable is not set"


def test_files_that_only_the_plugin_reads_need_it(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeEngine, "plugin_installed", lambda self: False)
    (tmp_path / "tuned" / "autotune").mkdir()
    (tmp_path / "tuned" / "autotune" / "NVIDIA_H200_SHRINK.json").write_text("{}")
    assert "which the server runs by the plug-in alone" in cli.ok(COMMAND)
    (tmp_path / "tuned" / "NVIDIA_H200_SHRINK.json").unlink()
    done = cli(COMMAND)
    assert (done.exit_code, "pip install" in done.stderr) == (2, True)


def test_a_trace_is_written_by_a_variant_of_its_own(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = cli.ok(COMMAND, "--variant T:LORA_AUTOTUNE_TRACE=trace.jsonl")
    assert "LORA_AUTOTUNE_TRACE is set here" not in printed
    planned = json.loads(cli.ok("plan --trace trace.jsonl --json"))
    assert planned["studies"]
    monkeypatch.setenv("LORA_AUTOTUNE_TRACE", str(tmp_path / "shell.jsonl"))
    assert "--variant T:LORA_AUTOTUNE_TRACE=FILE" in cli.ok(COMMAND)


@pytest.mark.parametrize(
    ("variant", "is_installed", "part"),
    [
        ("T:LORA_AUTOTUNE_TRACE=trace.jsonl", False, "which is not installed here"),
        ("P:LORA_AUTOTUNE_KERNELS=1", False, "which is not installed here"),
        ("T:LORA_AUTOTUNE_TRACE=nowhere/trace.jsonl", True, "nowhere/trace.jsonl is in no folder"),
    ],
)
def test_a_variant_that_cannot_be_what_it_says_is_refused_before_anything_starts(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, variant: str, is_installed: bool, part: str
) -> None:
    monkeypatch.setattr(FakeEngine, "plugin_installed", lambda self: is_installed)
    done = cli(COMMAND, "--variant", variant)
    assert (done.exit_code, part in done.stderr) == (2, True), done.stderr


def test_json_has_every_process(cli: Cli) -> None:
    found = json.loads(cli.ok(COMMAND, "--json"))
    assert [each["variant"] for each in found["processes"]] == list("ABCNNCBA")
    assert {cell["variant"]: round(cell["above_off_ms"]) for cell in found["cells"]}["A"] == 2
    assert found["versions"] == {"fake": "1.0"}


def test_html_holds_the_table(cli: Cli, tmp_path: Path) -> None:
    cli.ok(COMMAND, "--html", tmp_path / "serve.html")
    page = (tmp_path / "serve.html").read_text()
    assert all(part in page for part in ("prefill 8x1024", "_lora_shrink_kernel", "plug-in"))


def test_an_interrupted_run_goes_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MOOD, "dies")
    failed = cli(COMMAND)
    assert (failed.exit_code, "variant A" in failed.stderr) == (1, True)
    monkeypatch.delenv(MOOD)
    assert cli(COMMAND).stderr.count("round") == 8
    assert cli(COMMAND).stderr.count("round") == 0


def test_adapters_are_made_once_and_have_the_rank(cli: Cli, tmp_path: Path) -> None:
    cli.ok(COMMAND)
    configs = list((tmp_path / "cache" / "serve" / "adapters").glob("*/adapter_config.json"))
    assert len(configs) == 2
    assert json.loads(configs[0].read_text())["r"] == 8


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ("--dir nowhere --max-loras 2 --lora-rank 8", ["--dir", "nowhere"]),
        ("--max-loras 2 --lora-rank 8 --adapters 3", ["--adapters", "3", "2"]),
        ("--max-loras 1 --lora-rank 8 --lora-path a --lora-path b", ["--lora-path", "no such"]),
        ("--max-loras 2 --lora-rank 8 --prefill 8by1024", ["--prefill", "8by1024"]),
        ("--max-loras 2 --lora-rank 8 --variant P", ["--variant", "P"]),
        ("--max-loras 2 --lora-rank 8 --variant P:A=1 --variant P:A=2", ["--variant", "P", "twice"]),
        ("--max-loras 2", ["--lora-rank"]),
        ("--max-loras 2 --lora-rank 8 --runtime sglang", ["--runtime", "sglang"]),
    ],
)
def test_what_cannot_be_run_is_refused(cli: Cli, flags: str, parts: list[str]) -> None:
    done = cli("bench serve Qwen3-8B", flags)
    assert done.exit_code == 2
    assert all(part in done.stderr for part in parts), done.stderr


def test_fewer_layers_are_fewer_everywhere(cli: Cli, tmp_path: Path) -> None:
    text = {"num_hidden_layers": 3, "layer_types": ["a", "b", "c"], "vocab_size": 10}
    quantised = {"architectures": ["X"], "quantization_config": {"bits": 4}, "text_config": text}
    assert fields.changed(quantised, {"num_hidden_layers": 2})["text_config"] == {
        "num_hidden_layers": 2,
        "layer_types": ["a", "b"],
        "vocab_size": 10,
    }
    assert fields.changed(text, {})["layer_types"] == ["a", "b", "c"]


def test_a_model_whose_adapters_are_not_known_needs_real_ones(cli: Cli) -> None:
    Path("latent").mkdir()
    about = {"architectures": ["DeepseekV3ForCausalLM"], "kv_lora_rank": 512, "hidden_size": 64, "num_hidden_layers": 1}
    Path("latent/config.json").write_text(json.dumps(about))
    done = cli("bench serve latent --lora-rank 8 --max-loras 2")
    assert done.exit_code == 2
    assert "latent attention" in done.stderr
    assert "--lora-path" in done.stderr


def test_adapters_of_a_higher_rank_than_the_servers(cli: Cli) -> None:
    Path("adapter").mkdir()
    Path("adapter/adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 64, "target_modules": ["q_proj"]})
    )
    done = cli("bench serve Qwen3-8B --max-loras 2 --lora-rank 8 --lora-path adapter")
    assert (done.exit_code, "adapters of --lora-path need 64" in done.stderr) == (2, True)


@pytest.mark.parametrize("flag", ["--max-loras", "--num-loras", "--max-loras-per-batch"])
def test_every_spelling_of_the_number_of_adapters_is_taken(cli: Cli, flag: str) -> None:
    assert (
        "got 3, allowed: up to --max-loras 2" in cli(f"bench serve Qwen3-8B --lora-rank 8 {flag} 2 --adapters 3").stderr
    )


def test_a_folder_for_another_gpu(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_folder, "gpu_of_driver", lambda: "NVIDIA H100 80GB HBM3")
    done = cli(COMMAND)
    assert done.exit_code == 2
    assert "files of NVIDIA_H200, and this GPU is NVIDIA H100 80GB HBM3" in done.stderr
    monkeypatch.setattr(serve_folder, "gpu_of_driver", lambda: "NVIDIA H200")
    assert cli(COMMAND).exit_code == 0


def test_an_engine_that_is_not_installed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeEngine, "package", "no-such-engine")
    done = cli(COMMAND)
    assert (done.exit_code, "no-such-engine is not installed" in done.stderr) == (2, True)
