"""``--serve-command`` on the command line: it fills what is not given, and nothing beside it may contradict it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Cli

SERVE = "vllm serve Qwen3-8B --enable-lora --tensor-parallel-size 2 --max-lora-rank 32 --max-loras 4 --port 1"


def run(cli: Cli, *words: str) -> tuple[int, str, str]:
    from click.testing import CliRunner

    from autotune.cli.main import main

    done = CliRunner(env=cli.env).invoke(main, list(words), catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


def test_it_fills_the_model_and_the_flags_of_a_plan(cli: Cli) -> None:
    code, out, err = run(cli, "plan", "--serve-command", SERVE, "--json")
    assert code == 0, err
    assert json.loads(out)["name"].startswith("Qwen3-8B-vllm-tp2-r32-l4")
    assert "read: vllm, model Qwen3-8B, tp 2, lora-rank 32, max-loras 4" in err
    assert "ignored: --enable-lora, --port" in err


def test_the_plan_is_that_of_the_flags(cli: Cli) -> None:
    _, filled, _ = run(cli, "plan", f"--serve-command={SERVE}", "--json")
    flags = "plan Qwen3-8B --runtime vllm --tensor-parallel-size 2 --max-lora-rank 32 --max-loras-per-batch 4 --json"
    assert json.loads(filled) == json.loads(cli.ok(flags))


def test_the_same_said_twice_is_no_contradiction(cli: Cli) -> None:
    code, _, err = run(cli, "plan", "Qwen3-8B", "--tp", "2", "--serve-command", SERVE)
    assert code == 0, err


def test_a_flag_goes_before_a_default_of_the_server(cli: Cli) -> None:
    code, out, err = run(cli, "plan", "--max-loras", "8", "--serve-command", "vllm serve Qwen3-8B", "--json")
    assert code == 0, err
    assert json.loads(out)["serving"]["max_loras"] == 8


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["plan", "--tp", "4"], ["--tp", "4", "--tensor-parallel-size 2"]),
        (["plan", "Llama-3.1-8B"], ["--model", "Llama-3.1-8B", "Qwen3-8B"]),
        (["plan", "--runtime", "sglang"], ["--runtime", "sglang", "vllm"]),
        (["tune", "--model", "Llama-3.1-8B"], ["--model", "Llama-3.1-8B", "Qwen3-8B"]),
        (["tune", "--lora-rank", "8"], ["--lora-rank", "8", "--max-lora-rank 32"]),
        (["bench", "serve", "--max-loras", "2"], ["--max-loras", "2", "--max-loras 4"]),
        (["bench", "serve"], ["--tp", "2", "one GPU"]),
    ],
)
def test_a_contradiction_is_refused_by_both_names(cli: Cli, words: list[str], parts: list[str]) -> None:
    code, _, err = run(cli, *words, "--serve-command", SERVE)
    assert code == 2
    assert len(err.strip().splitlines()) <= 2
    assert all(part in err for part in parts), err


def test_values_are_named_as_they_are_given(cli: Cli, tmp_path: Path) -> None:
    adapter = tmp_path / "a"
    adapter.mkdir()
    command = f"python -m sglang.launch_server --model-path Qwen3-8B --lora-paths {adapter}"
    code, _, err = run(cli, "plan", "--serve-command", command, "--lora-path", "other")
    assert code == 2
    assert f"--lora-path: got other, but --serve-command says --lora-paths {adapter};" in err


def test_an_engine_that_is_not_run_from_here_is_told_with_those_that_are(cli: Cli) -> None:
    _, _, err = run(cli, "bench", "serve", "Qwen3-8B", "--runtime", "sglang", "--max-loras", "2", "--lora-rank", "8")
    assert "got sglang, whose engine cannot be run from here yet, allowed: vllm; " in err


def test_a_malformed_command_is_refused_before_anything_is_printed(cli: Cli) -> None:
    code, out, err = run(cli, "plan", "--serve-command", "vllm serve M -tp two")
    assert (code, out, len(err.splitlines())) == (2, "", 1)


def test_what_is_passed_by_is_printed_as_it_is_spelled(cli: Cli) -> None:
    _, _, err = run(cli, "plan", "--serve-command", f"{SERVE} --\x1b[2J 1")
    assert r"--\x1b[2J" in err
    assert "\x1b" not in err


SGLANG = "python -m sglang.launch_server --model-path Qwen3-30B-A3B --max-lora-rank 16 --tp 2"


def test_sglangs_expert_parallelism_is_read(cli: Cli) -> None:
    _, out, err = run(cli, "plan", "--json", "--serve-command", f"{SGLANG} --ep-size 2")
    assert json.loads(out)["serving"]["expert_parallel"] is True, err
    _, out, err = run(cli, "plan", "--json", "--serve-command", f"{SGLANG} --ep 3 --moe-a2a-backend deepep")
    assert json.loads(out)["serving"]["expert_parallel"] is True, err
    _, out, err = run(cli, "plan", "--json", "--serve-command", f"{SGLANG} --ep-size 1")
    assert json.loads(out)["serving"]["expert_parallel"] is False, err


@pytest.mark.parametrize(
    ("flag", "part"),
    [
        ("--enable-dp-attention", "DP attention"),
        ("--attn-dp-size 2", "DP attention"),
        ("--attention-data-parallel-size 2", "DP attention"),
        ("--attn-cp-size 2", "context parallelism"),
        ("--attention-context-parallel-size=2", "context parallelism"),
        ("--moe-dense-tp-size 1", "dense layers"),
        ("--moe-dp-size 2", "--attn-cp-size"),
        ("--ep-size 3", "got --ep-size 3 and --tp-size 2, allowed: an --ep-size that divides"),
        ("--ep-size=4 --moe-a2a-backend none", "moe_ep_size"),
        ("--lora-target-modules all q_proj", "all alone"),
        ("--lora-target-modules q_proj vocab_emb", "no vocab_emb"),
        ("--lora-target-modules all-linear", "no all-linear"),
        ("--model-impl transformers", "auto or sglang"),
        ("--max-loaded-loras 2", "at least --max-loras-per-batch"),
    ],
)
def test_a_server_that_does_not_start_so_or_shares_out_otherwise_is_refused(cli: Cli, flag: str, part: str) -> None:
    code, out, err = run(cli, "plan", "--serve-command", f"{SGLANG} {flag}")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert flag.replace("=", " ").partition(" ")[0] in err
    assert part in err
