"""`tune` takes the flags of vLLM's LoRA tuning script as they are, and goes all the way to the files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autotune import api
from autotune.run.clock import Deadline
from autotune.run.options import Budget

if TYPE_CHECKING:
    from tests.conftest import Cli

REPLAYED = Path(__file__).parents[1] / "data" / "replayed_1a9b4aa"
SHRINK = "lora_shrink-m16-k5120-n16-s1-l4-float16-NVIDIA_H200-replay"
SCRIPT_FLAGS = (
    "--op-type lora_shrink --dtype torch.float16 --batch-size 16 --seq-length 1 --hidden-size 5120 --lora-rank 16 "
    "--num-loras 4 --num-active-loras 4 --num-slices 1 --sort-by-lora-id 1 --cuda-graph-nops 8 --arg-pool-size 32 "
    "--test-correctness --max-configs 20"
)


def test_the_scripts_own_flags_lead_to_its_files(cli: Cli) -> None:
    done = cli("tune", SCRIPT_FLAGS, "--save-json-dir tuned --json-overwrite --output-csv all.csv")
    assert done.exit_code == 0, done.output
    assert SHRINK in done.stdout
    assert "recordings of NVIDIA H200" in done.stderr
    entry = json.loads(Path("tuned/NVIDIA_H200_SHRINK.json").read_text())["5"]["1"]["16"]["5120"]["16"]
    best = json.loads(cli.ok("study best --json", SHRINK))
    assert best["config"].items() <= entry.items()
    with Path("all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(row["status"] not in ("compile_error", "out_of_resources") for row in rows) <= 20
    assert rows[0]["status"] == "ok", "the default is measured first"


def test_sizes_come_from_checkpoints(cli: Cli) -> None:
    for folder, name, content in (
        ("model", "config.json", {"hidden_size": 5120}),
        ("adapter", "adapter_config.json", {"r": 16}),
    ):
        Path(folder).mkdir()
        Path(folder, name).write_text(json.dumps(content))
    flags = "--op-type lora_shrink --batch-size 16 --num-loras 4 --model-path model --lora-path adapter --max-configs 5"
    assert SHRINK in cli.ok("tune", flags)


def test_an_explicit_flag_goes_over_the_checkpoint(cli: Cli) -> None:
    Path("config.json").write_text(json.dumps({"hidden_size": 4096}))
    assert SHRINK in cli.ok("tune", cli.SHRINK, "--model-path . --max-configs 5")


def test_token_counts_go_into_one_file(cli: Cli) -> None:
    flags = cli.SHRINK.replace("--batch-size 16", "--m-values 16")
    cli.ok("tune", flags, "--max-configs 5 --save-json-dir tuned")
    assert list(json.loads(Path("tuned/NVIDIA_H200_SHRINK.json").read_text())["5"]["1"]) == ["16", "127", "128"]


def test_a_replay_with_the_same_seed_gives_the_bytes_that_an_older_revision_wrote(cli: Cli) -> None:
    for flags in (cli.SHRINK, cli.EXPAND):
        cli.ok("tune", flags, "--seed 0 --save-json-dir tuned --json-overwrite")
    files = list(REPLAYED.glob("*.json"))
    assert len(files) == 2
    assert all(Path("tuned", file.name).read_bytes() == file.read_bytes() for file in files)


def test_tuning_again_goes_on_and_measures_nothing_twice(cli: Cli) -> None:
    command = ("tune", cli.SHRINK, "--max-configs 5 --save-json-dir tuned --json-overwrite")
    first = cli.ok(*command)
    trials = json.loads(cli.ok("study show --json", SHRINK))["trials"]
    assert cli.ok(*command) == first
    assert json.loads(cli.ok("study show --json", SHRINK))["trials"] == trials


@pytest.mark.parametrize(
    ("flag", "names"),
    [
        ("--json-overwrite", {"NVIDIA_H200_SHRINK.json"}),
        ("", {"NVIDIA_H200_SHRINK.json", "NVIDIA_H200_SHRINK_tuned_1.json"}),
    ],
    ids=["overwrite", "beside"],
)
def test_an_existing_file_is_merged_into_or_left_alone(finished: Cli, flag: str, names: set[str]) -> None:
    command = ("tune", finished.SHRINK, "--save-json-dir tuned")
    finished.ok(*command)
    finished.ok(*command, flag)
    assert {path.name for path in Path("tuned").glob("NVIDIA*")} == names


def test_without_a_folder_nothing_but_the_storage_is_written(finished: Cli) -> None:
    done = finished("tune", finished.SHRINK)
    assert done.exit_code == 0
    assert "--save-json-dir" in done.stderr
    assert not list(finished.folder.rglob("NVIDIA*"))


def test_the_flags_of_run_are_taken_too(cli: Cli) -> None:
    cli.ok("tune", cli.SHRINK, "--backend replay --seed 7 --sampler random --stop none --trials 4 --timeout 5m")
    counts = json.loads(cli.ok("study show --json", SHRINK))["result"]["counts"]
    assert counts["ok"] + counts.get("pruned", 0) == 4


@pytest.mark.parametrize(
    ("gone_s", "least_s", "most_s"), [(0.0, 3000.0, 3600.0), (1500.0, 1500.0, 2100.0), (5e3, 10.0, 10.0)], ids=str
)
def test_a_timeout_counts_from_the_start_of_the_command(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, gone_s: float, least_s: float, most_s: float
) -> None:
    class Later(Deadline):
        """Of which so much is gone before the studies are made."""

        @property
        def left_s(self) -> float | None:
            return None if super().left_s is None else max(0.0, (super().left_s or 0.0) - gone_s)

    given_s: list[float | None] = []
    run = api.run

    def watched(storage: Any, chosen: Any, options: Any, budget: Budget, *rest: Any) -> list[str]:
        given_s.append(budget.timeout_s)
        return run(storage, chosen, options, budget, *rest)

    monkeypatch.setattr("autotune.cli.tune.Deadline", Later)
    monkeypatch.setattr(api, "run", watched)
    done = cli("tune", cli.SHRINK, "--backend replay --sampler random --stop none --trials 4 --timeout 60m")
    assert done.exit_code == 0
    assert [least_s <= (each or 0.0) <= most_s for each in given_s] == [True]
    assert ("counts from the command's start" in done.stderr) == (gone_s > 0)


@pytest.mark.parametrize("dtype", ["torch.float16", "float16", "fp16", "half"])
def test_every_spelling_of_a_dtype_names_the_same_study(finished: Cli, dtype: str) -> None:
    assert SHRINK in finished.ok("tune", finished.SHRINK, "--dtype", dtype)


QWEN = {"hidden_size": 2048, "num_experts": 128, "moe_intermediate_size": 768, "num_experts_per_tok": 8}
EXPERTS = "tune --op-type fused_moe_lora --backend replay --m-values 64 --lora-rank 16 --num-loras 4 --model-path ."


@pytest.mark.parametrize(
    ("flags", "label"),
    [
        ("", "i768-r16-s2-e128-top8-l4-float16"),
        ("--tp 2", "i384-r16-s2-e128-top8-l4-float16"),
        ("--tp 2 --fully-sharded", "i384-r16-s2-e128-top8-l4-float16-fs2"),
        ("--tp 2 --ep", "i768-r16-s2-e64-top8-l4-float16-ep2"),
        ("--tp 2 --fully-sharded --moe-intermediate-size 512", "i512-r16-s2-e128-top8-l4-float16-fs2"),
        ("--tp 5 --ep --num-experts 32", "i768-r16-s2-e32-top8-l4-float16-ep5"),
    ],
)
def test_of_a_models_experts_a_gpu_has_its_share(cli: Cli, flags: str, label: str) -> None:
    """What the server looks up (contracts A7); what a flag says is one GPU's already."""
    Path("config.json").write_text(json.dumps(QWEN))
    assert f" m64-h2048-{label} has no recording" in cli(EXPERTS, flags).stderr


@pytest.mark.parametrize(("flags", "size"), [("", "moe_intermediate_size 768"), ("--ep", "num_experts 128")])
def test_experts_that_cannot_be_shared_out(cli: Cli, flags: str, size: str) -> None:
    Path("config.json").write_text(json.dumps(QWEN))
    refused = cli(EXPERTS, flags, "--tp 5")
    assert refused.exit_code == 2
    assert f"--tp: got 5, which does not divide the model's {size}" in refused.stderr


def test_a_shape_of_a_dense_op_is_one_gpus(cli: Cli) -> None:
    refused = cli("tune", cli.SHRINK, "--tp 2 --fully-sharded")
    assert refused.exit_code == 2
    assert "--tp: got 2 for lora_shrink" in refused.stderr
