"""Fused MoE LoRA from flags to files: studies of a group, one block_m, four files; over recorded times of stand-ins."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest

from autotune.contract import registry
from autotune.contract.gpu import H200
from autotune.servers import files
from autotune.servers.vllm import facts, moe
from autotune.servers.vllm.server import VLLM
from tests.builders import fake_moe_kernels
from tests.builders.fake_moe_kernels import TIMES_US, FakeKernel, record
from tests.builders.recordings import write_machine

if TYPE_CHECKING:
    from tests.conftest import Cli

FLAGS = "--hidden-size 2048 --num-loras 4 --moe-intermediate-size 768 --backend replay --recorded recorded"
GROUP = f"--op-type fused_moe_lora {FLAGS}"
DEFAULT = "that of a server with a config folder: without one it takes the base model's MoE tiles"
RUN = "--recorded recorded --trials 14"
TWO_KERNEL = [name for name in TIMES_US if not name.endswith("one_shot")]


@pytest.fixture(scope="module")
def _recorded_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("group") / "recorded"
    write_machine(folder, triton="3.6.0")
    for m, rank in itertools.product((1, 16, 64), (16, 128, 256)):
        flags = {"m": m, "hidden_size": 2048, "lora_rank": rank, "num_loras": 4, "moe_intermediate_size": 768}
        fake_moe_kernels.record_all(folder, flags)
    return folder


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch, _recorded_once: Path) -> None:
    fake_moe_kernels.install(monkeypatch)
    shutil.copytree(_recorded_once, "recorded")


def entries(op: str) -> dict[str, Any]:
    """Returns what stands in an op's file, by m."""
    table = files.read_table(Path("tuned") / moe.file_name("NVIDIA_H200", op), facts.MOE_LEVELS)
    return {key[2]: config for key, config in table.items()}


def studies(cli: Cli) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cli.ok("study list --json"))
    return found


def test_tune_writes_four_files_with_the_block_m_of_the_least_sum(cli: Cli) -> None:
    done = cli("tune", GROUP, "--lora-rank 256 --m-values 16,64 --trials 14 --save-json-dir tuned")
    assert done.exit_code == 0, done.output
    for op, name in zip(facts.MOE_OPS, TWO_KERNEL, strict=True):
        assert {m: each["block_m"] for m, each in entries(op).items()} == {"16": 32, "64": 32}
        assert all(
            (each["block_n"], each["block_k"], each["num_warps"]) == (32, 64, 8) for each in entries(op).values()
        )
        assert done.stdout.count(name) >= 2
    assert "54.00" in done.stdout
    assert "sum of the 4 above, block_m 32 in all" in done.stdout
    assert "serves rank 256, not fully sharded, with two kernels, which read every key" in done.stderr
    assert "slower alone" not in done.stderr
    assert DEFAULT in done.stderr
    assert_within_budget(cli, 14)


def test_the_path_is_the_servers_unless_told_otherwise(cli: Cli) -> None:
    cli.ok("study create", GROUP, "--lora-rank 16 --batch-size 16")
    assert {each["name"].partition("-")[0] for each in studies(cli)} == {
        name for name in TIMES_US if "one_shot" in name
    }
    made = cli("study create", GROUP, "--lora-rank 16 --batch-size 16 --path two-kernel")
    assert {line.partition("-")[0] for line in made.stdout.split()} == set(TWO_KERNEL)
    assert "read block_m alone; this was tuned for the two-kernel path: for what the server runs tune with --path" in (
        made.stderr
    )
    groups = {each["group"].partition("-m16")[0] for each in studies(cli)}
    assert groups == {"fused_moe_lora-one-shot", "fused_moe_lora-two-kernel"}
    sharded = cli.ok("study create", GROUP, "--lora-rank 16 --batch-size 64 --fully-sharded")
    assert {line.partition("-")[0] for line in sharded.split()} == set(TWO_KERNEL)


def test_fully_sharded_over_two_gpus(cli: Cli) -> None:
    """Two kernels at any rank, w13 under a half of it and w2 under all of it, with one block_m."""
    flags = "--lora-rank 16 --m-values 16 --fully-sharded --tp 2"
    done = cli("tune", GROUP, flags, "--trials 14 --save-json-dir tuned")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("vLLM 0.33 serves rank 16, fully sharded over 2 GPUs, with two kernels") == 1
    for op, name in zip(facts.MOE_OPS, TWO_KERNEL, strict=True):
        table = files.read_table(Path("tuned") / moe.file_name("NVIDIA_H200", op), facts.MOE_LEVELS)
        mine, filled = ("8", "16") if "w13" in op else ("16", "8")
        assert {(key[2], key[3]) for key in table} == {("16", k) for k in (mine, filled)}
        assert {config["block_m"] for config in table.values()} == {32}
        assert {config["num_warps"] for key, config in table.items() if key[3] == mine} == {8}
        assert name in done.stdout
    assert all("-fs2-" in each["name"] for each in studies(cli))
    records = json.loads(Path("tuned/autotune-provenance.json").read_text())["entries"]
    own = [each for each in records if each["kind"] == "own"]
    assert len(own) == 4
    assert all(each["provenance"]["shards"] == [each["provenance"]["problem"]["tp"]] == [2] for each in own)
    assert "0 findings" in cli.ok("config check tuned --runtime vllm")
    looked_up = cli.ok(
        "config lookup tuned --runtime vllm --op fused_moe_lora_w13_expand --max-loras 4 --num-slices 2 --m 16 --k 8",
        "--n 2048 --intermediate 768",
    )
    assert "k 8 -> 8 (exact)" in looked_up
    again = cli("study export --dir tuned")
    assert again.exit_code == 0, again.output


def test_one_shot_tunes_block_m_alone_and_says_so(cli: Cli) -> None:
    done = cli("tune", GROUP, "--lora-rank 16 --batch-size 64 --save-json-dir tuned")
    assert done.exit_code == 0, done.output
    assert "this was tuned for them, the other keys are the defaults" in done.stderr
    for op in facts.MOE_OPS:
        dims = {"max_loras": 4, "num_slices": 1, "m": 64, "k": 16, "n": 2048, "i": 768}
        default = VLLM.default_config(vllm_call(op, dims))
        assert entries(op) == {"64": default | {"block_m": 32}}
    records = json.loads(Path("tuned/autotune-provenance.json").read_text())["entries"]
    assert len(records) == 4
    for each in records:
        about = each["provenance"]
        assert (about["group"]["path"], about["group"]["shared"]) == ("one-shot", {"block_m": 32})
        assert "one-shot kernels, which read block_m alone" in about["serving"]
        assert DEFAULT in about["serving"]


@pytest.mark.parametrize(
    ("m_values", "block_m", "of"),
    [("1,16,64", {"1": 32, "16": 32, "64": 32}, 16), ("1,64", {"1": 32, "64": 32}, 64), ("1", {"1": 64}, None)],
)
def test_an_m_that_reads_no_block_m_has_the_next_ones(
    cli: Cli, m_values: str, block_m: dict[str, int], of: int | None
) -> None:
    """Sorted batches between the two read the entry, too."""
    done = cli("tune", GROUP, f"--lora-rank 128 --m-values {m_values} --save-json-dir tuned")
    assert done.exit_code == 0, done.output
    assert "so few tokens are not sorted, and then not even block_m is read" in done.output
    for op in facts.MOE_OPS:
        assert {m: each["block_m"] for m, each in entries(op).items()} == block_m
    records = json.loads(Path("tuned/autotune-provenance.json").read_text())["entries"]
    about = [each["provenance"].get("block_m_of", {}).get("m") for each in records if each["key"][2] == "1"]
    assert about == [of] * 4
    assert "0 findings" in cli.ok("config check tuned --runtime vllm")


def test_a_default_that_the_folder_does_not_have_is_written_and_said_to_be_the_best(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a server that launches other tiles without a folder than with an empty one."""
    monkeypatch.setattr(FakeKernel, "default_config", lambda *_: {"block_m": 32})
    monkeypatch.setattr(FakeKernel, "other_defaults", lambda *_: ({"block_m": 64},))
    for side in ("gate_up", "down"):
        kernel = registry.installed().get(f"fused_moe_lora_{side}_one_shot")
        assert isinstance(kernel, FakeKernel)
        flags = {"m": 16, "hidden_size": 2048, "lora_rank": 16, "num_loras": 4, "moe_intermediate_size": 768}
        record(Path("recorded"), kernel, kernel.problem_from_flags(flags), H200)
    done = cli("tune", GROUP, "--lora-rank 16 --m-values 16 --trials 14 --save-json-dir tuned")
    assert done.exit_code == 0, done.output
    assert [entries(op)["16"]["block_m"] for op in facts.MOE_OPS] == [32] * 4
    assert "nothing is faster than what the server runs without a config folder" in done.output
    assert "its default with an empty config folder takes 42.00 us" in done.output


def test_batches_too_small_for_any_key_are_said_to_be(cli: Cli) -> None:
    said = cli("study create", GROUP, "--lora-rank 16 --m-values 1").stderr
    assert "with its small-batch kernel for so few tokens, which reads no key at all" in said
    assert "one-shot kernels" in cli("study create", GROUP, "--lora-rank 16 --m-values 16").stderr


def vllm_call(op: str, dims: dict[str, int]) -> Any:
    from autotune.contract import Call

    return Call("vllm", op, dims)


def test_running_one_member_runs_its_group(cli: Cli) -> None:
    cli.ok("study create", GROUP, "--lora-rank 256 --m-values 16,64")
    first = cli("study run", RUN, "fused_moe_lora_gate_up_shrink-m16-*")
    assert first.exit_code == 0, first.output
    assert first.stderr.count("us over its 4 ops") == 1
    assert "block_m 32 in all" in first.stderr
    assert {each["state"] for each in studies(cli) if "-m16-" in each["name"]} == {"tuned"}
    assert {each["state"] for each in studies(cli) if "-m64-" in each["name"]} == {"new"}
    shown = cli.ok("study list")
    assert "tuned, block_m 32" in shown
    assert "sum of the 4 above" in shown
    note = cli.ok("study show", "fused_moe_lora_gate_up_shrink-m16-*")
    assert "group: fused_moe_lora-two-kernel-m16-" in note
    assert "served: vLLM 0.33 serves rank 256" in note


@pytest.mark.parametrize("trials", [1, 4])
def test_a_budget_holds_for_every_op_and_leaves_some_for_the_choice(cli: Cli, trials: int) -> None:
    cli.ok("study create", GROUP, "--lora-rank 256 --batch-size 16")
    cli.ok("study run --recorded recorded --trials", str(trials))
    assert_within_budget(cli, trials)


def assert_within_budget(cli: Cli, trials: int) -> None:
    for each in studies(cli):
        found = json.loads(cli.ok("study show --json", each["name"]))["trials"]
        assert 1 <= len(found) <= trials


def test_a_group_is_run_once(cli: Cli) -> None:
    cli.ok("study create", GROUP, "--lora-rank 256 --batch-size 16")
    cli.ok("study run --recorded recorded")
    before = studies(cli)
    assert "Nothing to run" in cli("study run", RUN).stderr
    assert studies(cli) == before
    results = [json.loads(cli.ok("study show --json", each["name"])) for each in before]
    assert {json.dumps(each["group_result"], sort_keys=True) for each in results} == {
        json.dumps(results[0]["group_result"], sort_keys=True)
    }
    for each in results:
        measured = [t for t in each["trials"] if t["status"] in ("ok", "pruned")]
        params = {json.dumps(t["params"], sort_keys=True) for t in measured}
        assert len(params) == len(measured), "no config is measured twice"
        assert sum(t["params"]["block_m"] == 32 for t in measured) == 4, "the winner's are all measured"


def test_one_op_alone_is_tuned_but_not_exported(cli: Cli) -> None:
    made = cli("study create --op-type fused_moe_lora_gate_up_shrink", FLAGS, "--lora-rank 16 --batch-size 16")
    assert "for what the server runs tune with --op-type fused_moe_lora;" in made.stderr, "it takes no --path"
    cli.ok("study run", RUN)
    refused = cli("study export --dir tuned")
    assert refused.exit_code == 2
    assert "a study of it alone cannot be exported" in refused.stderr
    assert "study create --op-type fused_moe_lora" in refused.stderr
    assert not Path("tuned").exists()
    before = studies(cli)
    tuned = "--lora-rank 256 --batch-size 16 --save-json-dir tuned"
    assert cli("tune --op-type fused_moe_lora_gate_up_shrink", FLAGS, tuned).exit_code == 2
    assert studies(cli) == before, "it is refused before anything is tuned"


def test_files_that_contradict_each_other_are_refused_before_anything_is_tuned(cli: Cli) -> None:
    Path("tuned").mkdir()
    for op, block_m in zip(facts.MOE_OPS, (16, 16, 64, 64), strict=True):
        key = ("4", "2" if "w13" in op else "1", "8", "16", "2048", "768")
        table: files.Table = {key: {"block_m": block_m}}
        (Path("tuned") / moe.file_name("NVIDIA_H200", op)).write_text(files.table_text(table))
    flags = "--lora-rank 256 --batch-size 16 --save-json-dir tuned --json-overwrite"
    refused = cli("tune", GROUP, flags)
    assert refused.exit_code == 2
    assert "block_m is 16 in fused_moe_lora_w13_shrink but 64" in refused.stderr
    assert not cli.database.exists()


def test_a_group_that_lost_a_member_is_neither_run_nor_exported(cli: Cli) -> None:
    cli.ok("study create", GROUP, "--lora-rank 256 --batch-size 16")
    names = [each["name"] for each in studies(cli)]
    cli.ok("study delete --yes", names[2])
    refused = cli("study run", RUN)
    assert refused.exit_code == 2
    assert "has no study of fused_moe_lora_down_shrink" in refused.stderr
    cli.ok("study create --skip-if-exists", GROUP, "--lora-rank 256 --batch-size 16")
    cli.ok("study run --recorded recorded --trials 1")
    cli.ok("study delete --yes", names[2])
    refused = cli("study export --dir tuned")
    assert refused.exit_code == 2
    assert "is missing or unfinished" in refused.stderr
    assert not Path("tuned").exists()


def test_a_member_keeps_its_group(cli: Cli) -> None:
    lone = "--op-type fused_moe_lora_gate_up_shrink"
    cli.ok("study create", lone, FLAGS, "--lora-rank 256 --batch-size 16")
    refused = cli("study create --skip-if-exists", GROUP, "--lora-rank 256 --batch-size 16")
    assert refused.exit_code == 2
    assert "exists with another group" in refused.stderr
    cli.ok("study create", GROUP, "--lora-rank 256 --batch-size 16 --tag joint")


def test_a_study_from_before_there_were_groups_is_loaded(cli: Cli) -> None:
    cli.ok("study create --op-type fused_moe_lora_gate_up_shrink", FLAGS, "--lora-rank 16 --batch-size 16")
    (each,) = studies(cli)
    loaded = optuna.load_study(storage=cli.url, study_name=each["name"])
    spec = dict(loaded.user_attrs["autotune"])
    del spec["group"]
    loaded.set_user_attr("autotune", spec)
    cli.ok("study run", RUN)


def test_path_belongs_to_the_group(cli: Cli) -> None:
    refused = cli("study create --path one-shot --op-type fused_moe_lora_gate_up_shrink", FLAGS, "--lora-rank 16")
    assert refused.exit_code == 2
    assert "--path" in refused.stderr


def test_recorded_expert_ids_become_counts(cli: Cli) -> None:
    Path("ids.csv").write_text("# two of four experts\n0,1\n0 3\n\n1,0\n")
    flags = "--lora-rank 16 --batch-size 16 --num-experts 4 --top-k-num 2 --topk-ids ids.csv"
    cli.ok("study create", GROUP, flags)
    shown = json.loads(cli.ok("study show --json", studies(cli)[0]["name"]))
    assert shown["spec"]["problem"]["expert_counts"] == [3, 2, 0, 1]
    # With the mark that some editors begin UTF-8 with.
    Path("ids.json").write_text("[[0, 1], [0, 3], [1, 0]]", encoding="utf-8-sig")
    cli.ok("study create --skip-if-exists", GROUP, flags.replace("csv", "json"))
    assert len(studies(cli)) == 2


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("ids.txt", "0 1\n0 4\n", r"ids.txt line 2: got expert 4, allowed: 0 to 3"),
        ("ids.txt", "0 1\n-1 2\n", r"ids.txt line 2: got expert -1, allowed: 0 to 3"),
        ("ids.txt", "0 1\n\n2\n", r"ids.txt line 3: got 1 ids, allowed: 2 (--top-k-num)"),
        ("ids.csv", "0,1\n1,x\n", r"ids.csv line 2: got 'x', allowed: integers"),
        ("ids.csv", "0,1.5\n", r"ids.csv line 1: got '1.5', allowed: integers"),
        ("ids.txt", "0 1\n0 --3\n", r"ids.txt line 2: got '--3', allowed: integers"),
        ("ids.txt", "0 " + "1" * 5000, r"ids.txt line 1: got '1111111111111111111111111111111111111111', allowed"),
        ("ids.txt", "0 1\n3 3\n", r"ids.txt line 2: got expert 3 twice, allowed: 2 different ones"),
        ("ids.json", "[[0, 1], [1, 1]]", r"ids.json row 2: got expert 1 twice, allowed: 2 different ones"),
        ("ids.json", f"[[0, {'1' * 5000}]]", r"ids.json: no valid JSON"),
        ("ids.txt", "# nothing\n", r"ids.txt holds no rows"),
        ("ids.txt", None, r"cannot read ids.txt (No such file or directory)"),
        ("ids.txt", b"\xff\xfe\x00", r"ids.txt is no text"),
        ("ids.json", "[[0, 1],\n [2", r"ids.json line 2: no valid JSON"),
        ("ids.json", '{"ids": []}', r"ids.json: got dict, allowed: a list of lists"),
        ("ids.json", "[[0, 1], [true, 2]]", r"ids.json row 2: got [true, 2], allowed: a list of integers"),
        ("ids.json", "[[0, 1], 2]", r"ids.json row 2: got 2, allowed: a list of integers"),
        ("ids.json", "[]", r"ids.json holds no rows"),
    ],
)
def test_malformed_expert_ids_are_refused_in_one_line(
    cli: Cli, name: str, content: str | bytes | None, complaint: str
) -> None:
    if content is not None:
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    refused = cli("study create", GROUP, f"--lora-rank 16 --batch-size 16 --num-experts 4 --topk-ids {name}")
    assert refused.exit_code == 2
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert line.startswith("Error: --topk-ids: ")
    assert complaint in line
    assert not cli.database.exists()
