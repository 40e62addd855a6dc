"""`plan`, `study ... --plan` and `tune --model`, from flags to files, on recorded spaces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autotune.kernels.common import csgmv, problem
from autotune.plan import plan
from autotune.servers.sglang import lookups
from autotune.servers.vllm import facts
from tests.builders import served_vllm
from tests.builders.samples import write_recorded_model

if TYPE_CHECKING:
    from tests.conftest import Cli

SERVER = "--runtime vllm --lora-rank 16 --max-loras 4"
TINY = f"{SERVER} --target-modules o_proj --m-values 16 --dtype float16"
NAME = "small-vllm-tp1-r16-l4-float16-7c52a3"
SHRINK = "lora_shrink-m16-k5120-n16-s1-l4-float16-NVIDIA_H200-replay"
EXPAND = "lora_expand-m16-k16-n5120-s1-l4-float16-NVIDIA_H200-replay"


@pytest.fixture
def small() -> Path:
    folder = Path("small")
    write_recorded_model(folder)
    return folder


def adapter(name: str, rank: int | None, *modules: str) -> str:
    Path(name).mkdir()
    config = {"peft_type": "LORA", "lora_alpha": 16, "target_modules": list(modules), **({"r": rank} if rank else {})}
    Path(name, "adapter_config.json").write_text(json.dumps(config))
    return f"--lora-path {name}"


def test_a_plan_lists_lookups_studies_warnings_and_advice(cli: Cli) -> None:
    said = cli.ok("plan Qwen3-8B --dry-run", SERVER)
    for part in (
        "EXPAND_TRUE, max_loras key 5",
        "o_proj x36, down_proj x36, embed_tokens",
        "91 studies and 55 races, about 4 minutes on an H100 with 16 cores",
        "Note: lm_head: its m is the number of sampled rows",
        "--enforce-eager",
    ):
        assert part in said
    assert not cli.database.exists()


def test_a_plan_as_json(cli: Cli) -> None:
    data = json.loads(cli.ok("plan Qwen3-30B-A3B --json --tp 2 --ep --m-values 1,64", SERVER))
    assert data["serving"]["expert_parallel"]
    assert {"op", "max_loras", "num_slices", "k", "n", "i", "layers", "kernels"} == set(data["shapes"][-1])
    assert data["sizes"] == {"1": 1.0, "64": 1.0}
    assert {"kernel", "flags", "call", "layers", "weight", "source"} == set(data["studies"][0])
    assert data["following"] == []
    assert data["warnings"]
    assert data["advice"]


def test_a_plan_says_whose_kernels_are_timed(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("plan Qwen3-8B --from-tables", SERVER)
    assert "vllm is not installed here" in cli.ok(*command)
    for source in ("served", "both"):
        assert "--source served (or both): vllm is not installed" in cli(*command, "--source", source).stderr
    monkeypatch.syspath_prepend(served_vllm.install(tmp_path / "site"))
    assert "times vllm 0.33.0's own kernel" in cli.ok(*command)
    timed = json.loads(cli.ok(*command, "--json --source served --allow-unknown-server"))["timed"]
    assert {(each["source"], each["version"]) for each in timed.values()} == {("vllm", "0.33.0")}
    refused = cli(*command, "--source served")
    assert refused.exit_code == 2
    assert "--allow-unknown-server" in refused.stderr
    assert "times this project's kernel" in cli.ok(*command, "--source builtin")
    assert cli(*command, "--source both").exit_code == 2, "the release is not known"
    both = json.loads(cli.ok(*command, "--json --source both --allow-unknown-server"))
    assert {each["source"] for each in both["studies"]} == {"vllm", "builtin"}
    assert f"{len(both['studies'])} studies" in cli.ok(*command, "--source both --allow-unknown-server")


def test_a_plan_says_that_a_model_is_in_another_half_precision(cli: Cli) -> None:
    config: dict[str, object] = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64}
    config |= {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 320}
    Path("model").mkdir()
    for name, dtypes in (("float16", {"bfloat16": True, "float16": False}), ("float32", {"bfloat16": False})):
        Path("model/config.json").write_text(json.dumps({**config, "torch_dtype": name}))
        for dtype, told in dtypes.items():
            said = cli.ok("plan model --from-tables --m-values 16", SERVER, "--dtype", dtype)
            assert (f"timed in {dtype}, and the model's config says {name}" in said) == told


def test_a_plan_refuses_experts_that_the_servers_own_kernels_do_not_run(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(served_vllm.install(tmp_path / "site", "0.31.0"))
    command = "plan Qwen3-30B-A3B --from-tables --runtime vllm --max-loras 4 --m-values 16 --lora-rank"
    refused = cli(command, "256")
    assert refused.exit_code == 2
    assert "vllm 0.31.0 stops at experts of rank 256" in refused.stderr
    cli.ok(command, "16")
    cli.ok(command, "256 --target-modules qkv_proj,o_proj")


def test_fully_sharded_experts_are_tuned_as_a_group(cli: Cli) -> None:
    said = cli.ok("plan Qwen3-30B-A3B --tp 2 --fully-sharded --target-modules experts --m-values 16,64", SERVER)
    rows = [line.split() for line in said.splitlines() if line.endswith("fused_moe_lora")]
    assert [row[:4] for row in rows] == [
        [s, k, "2048", "384"] for s, k in (("2", "8"), ("2", "8"), ("1", "16"), ("1", "16"))
    ]
    assert [row[6:-1] for row in rows] == [[], ["with"], ["with"], ["with"]]
    assert "8 studies" in said
    assert "not tuned" not in said
    ours = cli.ok("plan Qwen3-30B-A3B --tp 2 --fully-sharded --m-values 16 --source builtin", SERVER)
    assert "Note: fused_moe_lora: not tuned, since the plug-in leaves it to the server's own kernels" in ours


def test_expert_parallel_problems_are_the_plans(cli: Cli) -> None:
    data = json.loads(cli.ok("plan Mixtral-8x7B --json --tp 8 --ep --m-values 1 --target-modules experts", SERVER))
    (flags,) = (study["flags"] for study in data["studies"])
    sizes = "--m-values 1 --hidden-size 4096 --lora-rank 16 --num-loras 4 --moe-intermediate-size 14336"
    command = f"study create --backend replay --op-type fused_moe_lora {sizes} --num-experts 1 --ep --tp 8"
    assert (flags["num_experts"], flags["ep"], flags["tp"]) == (1, 1, 8)
    assert "-e1-top2-l4-float16-ep8 has no recording" in cli(command).stderr
    Path("ids.txt").write_text("7 0\n")
    assert "-ep8-ids" in cli(command, "--topk-ids ids.txt").stderr
    refused = cli("study create --op-type lora_shrink", cli.SHRINK.partition("lora_shrink")[2], "--ep")
    assert refused.exit_code == 2
    assert "--ep: got it for lora_shrink" in refused.stderr


def test_the_rank_comes_from_adapters(cli: Cli) -> None:
    paths = adapter("a", 12, "q_proj") + " " + adapter("b", 20, "model.layers.0.mlp.up_proj")
    flags = f"--max-loras 4 {paths} --json"
    assert json.loads(cli.ok("plan Qwen3-8B --runtime vllm", flags))["serving"]["rank"] == 32
    data = json.loads(cli.ok("plan Qwen3-8B --runtime sglang", flags))
    assert data["serving"]["rank"] == 20
    assert {layer for shape in data["shapes"] for layer in shape["layers"]} == {"qkv_proj x36", "gate_up_proj x36"}
    assert json.loads(cli.ok("plan Qwen3-8B --runtime vllm --lora-rank 64", flags))["serving"]["rank"] == 64


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (f"nothing {SERVER}", ["MODEL", "'nothing'", "Qwen3-8B"]),
        ("Qwen3-8B --lora-rank 16 --max-loras 4", ["--runtime: not given"]),
        ("Qwen3-8B", ["--runtime, --max-loras, --lora-rank: not given", "--serve-command"]),
        ("Qwen3-8B --runtime vllm --lora-rank 16", ["--max-loras: not given"]),
        ("Qwen3-8B --runtime vllm --max-loras 4", ["--lora-rank: not given", "--lora-path"]),
        (f"Qwen3-8B {SERVER} --tp 3", ["--tp: got 3", "num_attention_heads 32"]),
        ("Qwen3-8B --runtime vllm --lora-rank 17 --max-loras 4", ["--lora-rank: got 17", "16, 32"]),
        (f"Qwen3-8B {SERVER} --fully-sharded --dual-stream --tp 2", ["--dual-stream"]),
        (f"Qwen3-8B {SERVER} --chunk-sizes 16", ["--chunk-sizes", "sglang"]),
        ("Qwen3-8B --runtime sglang --lora-rank 16 --max-loras 4 --m-values 16", ["--m-values", "vllm"]),
        (f"Qwen3-8B {SERVER} --m-values some", ["--m-values", "'some'"]),
        (f"Qwen3-8B {SERVER} --set hidden_size", ["--set", "'hidden_size'", "FIELD=N"]),
        (f"Qwen3-8B {SERVER} --set num_atention_heads=16", ["--set", "'num_atention_heads'", "num_attention_heads"]),
        (f"Qwen3-8B {SERVER} --dtype int8", ["--dtype: got 'int8'", "float16, bfloat16"]),
        (
            "Qwen3-8B --runtime sglang --lora-rank 16 --max-loras 4 --workload foo",
            ["--workload: got 'foo'", "allowed: prefill, decode, mixed"],
        ),
        (
            f"Qwen3-8B {SERVER} --max-num-seqs 512 --max-num-batched-tokens 64",
            ["--max-num-seqs: got 512", "--max-num-batched-tokens 64"],
        ),
        (f"Qwen3-8B {SERVER} --target-modules ,", ["--target-modules: got ','", "q_proj"]),
        (f"Qwen3-8B {SERVER} --traffic none.json", ["--traffic", "none.json"]),
        (f"Qwen3-8B {SERVER} --lora-path nowhere", ["--lora-path", "nowhere"]),
    ],
)
def test_a_plan_that_cannot_be(cli: Cli, flags: str, parts: list[str]) -> None:
    done = cli("plan", flags)
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1
    assert not [part for part in parts if part not in done.stderr], done.stderr


def test_fewer_tokens_than_the_usual_sequences(cli: Cli) -> None:
    assert json.loads(cli.ok("plan Qwen3-8B --max-num-batched-tokens 64 --json", SERVER))["answered"][-1] == 64


def test_the_kernels_take_what_a_plan_does() -> None:
    assert lookups.WORKLOADS == csgmv.WORKLOADS
    assert set(plan.DTYPES) == set(problem.DTYPES)


def test_a_plan_takes_the_spellings_that_tune_takes(cli: Cli) -> None:
    long = cli.ok("plan Qwen3-8B --runtime sglang --max-loras 4 --lora-rank 16 --chunk-sizes 16,32 --dtype float16")
    for dtype in ("half", "fp16", "torch.float16"):
        assert (
            cli.ok("plan Qwen3-8B --runtime sglang --max-loras 4 --rank 16 --chunk-sizes 16 32 --dtype", dtype) == long
        )


def test_tune_of_a_preset_says_that_max_loras_is_missing(cli: Cli) -> None:
    done = cli("tune --model Qwen3-8B --lora-rank 16 --runtime vllm")
    assert done.exit_code == 2
    assert "--max-loras: not given" in done.stderr


def test_adapters_that_cannot_be(cli: Cli) -> None:
    for paths, rank, part in (
        (adapter("no-rank", None, "q_proj"), "", "r missing"),
        (adapter("large", 600), "", "rank 600"),
        (adapter("middling", 32), "--lora-rank 16", "need 32"),
        (adapter("odd", 8, "wq") + " --runtime sglang", "", "target_modules wq: get_hidden_dim not implemented"),
    ):
        done = cli("plan Qwen3-8B --runtime vllm --max-loras 4", paths, rank)
        assert done.exit_code == 2
        assert part in done.stderr


def test_studies_of_a_plan_are_created_run_and_exported_by_its_name(cli: Cli, small: Path) -> None:
    made = cli("study create --backend replay --plan", small, TINY)
    assert made.stdout.split() == [SHRINK, EXPAND]
    assert f"study run --plan {NAME}" in made.stderr
    cli.ok("study create --backend replay", cli.SHRINK.replace("lora-rank", "rank"), "--tag other")
    cli.ok("study run --trials 5 --plan", NAME)
    states = {s["name"]: s["state"] for s in json.loads(cli.ok("study list --json"))}
    assert states == {SHRINK: "default", EXPAND: "tuned", f"{SHRINK}-other": "new"}
    cli.ok("study export --dir tuned --plan", NAME)
    flags = f"--model {small} {SERVER} --target-modules o_proj --m-values 16"
    assert "0 findings" in cli.ok("config check tuned --runtime vllm", flags.replace("--runtime vllm", ""))


def test_plans_of_other_flags_have_other_names(cli: Cli, small: Path) -> None:
    plain = f"{small} {SERVER}"
    names = {
        json.loads(cli.ok("plan --json", plain, flags))["name"]
        for flags in (
            "",
            "--dtype float16",
            "--target-modules o_proj",
            "--m-values 16",
            "--max-num-seqs 64",
            "--set vocab_size=64000",
            "--target-modules o_proj --m-values 16",
        )
    }
    assert len(names) == 7
    assert all(name.startswith("small-vllm-tp1-r16-l4-") for name in names)
    assert sum("-float16-" in name for name in names) == 1
    for same in ("--max-num-seqs 256 --dtype bfloat16 --m-values auto", "--m-values 16,1", "--m-values 1,16,16"):
        names.add(json.loads(cli.ok("plan --json", plain, same))["name"])
    assert len(names) == 8


@pytest.mark.parametrize("model", ["a/merged", "b/merged", "a/merged/config.json"])
def test_a_model_of_the_same_name_has_a_plan_of_another(cli: Cli, model: str) -> None:
    config: dict[str, object] = {"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2}
    config |= {"num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 320}
    for number, folder in enumerate((Path("a/merged"), Path("b/merged"))):
        folder.mkdir(parents=True)
        folder.joinpath("config.json").write_text(json.dumps(config | {"num_hidden_layers": number + 1}))
    Path("a/merged/other.json").write_text(Path("b/merged/config.json").read_text())
    name = json.loads(cli.ok("plan --from-tables --json", model, SERVER))["name"]
    assert name.startswith("merged-vllm-tp1-r16-l4-")
    beside = "b/merged" if model.startswith("a") else "a/merged"
    assert json.loads(cli.ok("plan --from-tables --json", beside, SERVER))["name"] != name
    other = json.loads(cli.ok("plan --from-tables --json a/merged/other.json", SERVER))["name"]
    assert other.startswith("other-vllm-tp1-r16-l4-")


def test_creating_a_plan_again_needs_skip_if_exists(cli: Cli, small: Path) -> None:
    command = ("study create --backend replay --plan", small, TINY)
    cli.ok(*command)
    assert cli(*command).exit_code == 2
    assert cli.ok(*command, "--skip-if-exists").split() == [SHRINK, EXPAND]


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ("study create --plan small --op-type lora_shrink", ["--op-type", "--plan", "leave one out"]),
        ("study create --plan small --num-loras 3", ["--num-loras", "--plan"]),
        ("tune --model small --hidden-size 3", ["--hidden-size", "--model"]),
    ],
)
def test_a_model_and_a_single_problem_contradict_each_other(
    cli: Cli, small: Path, command: str, parts: list[str]
) -> None:
    done = cli(command, TINY)
    assert done.exit_code == 2
    assert not [part for part in parts if part not in done.stderr], done.stderr


def test_flags_of_a_plan_need_a_model(cli: Cli) -> None:
    for command in ("study create", "tune"):
        done = cli(command, cli.SHRINK, "--dual-stream")
        assert done.exit_code == 2
        assert "--dual-stream" in done.stderr


@pytest.mark.usefixtures("finished")
def test_a_plan_that_matches_no_study(cli: Cli) -> None:
    for command in ("study run", "study export --dir tuned"):
        done = cli(command, "--plan nothing")
        assert done.exit_code == 2
        assert "'nothing'" in done.stderr
        assert "study create --plan" in done.stderr
        assert cli(command, "--plan nothing", SHRINK).exit_code == 2


def test_from_a_model_to_checked_files_in_one_command(cli: Cli) -> None:
    server = "--runtime sglang --lora-rank 64 --max-loras 1"
    flags = f"--backend replay --trials 5 --dtype float16 --timeout 60s {server}"
    said = cli.ok("tune --model Qwen3-Embedding-0.6B --save-json-dir tuned --json-overwrite", flags)
    assert "7 studies" in said
    assert "28 lookups read back" in said
    assert "0 findings" in cli.ok("config check tuned --model Qwen3-Embedding-0.6B", server)


def test_an_export_of_a_plan_answers_what_was_not_measured(cli: Cli, small: Path) -> None:
    cli.ok("study create --backend replay --plan", small, TINY)
    cli.ok("study run --trials 5 lora_shrink*")
    cli.ok("study export --dir tuned --plan", NAME)
    table = json.loads(Path("tuned/NVIDIA_H200_EXPAND_TRUE.json").read_text())
    leaf = table["5"]["1"]["16"]["16"]["5120"]
    assert leaf["block_m"] == 64
    assert set(leaf) >= set(facts.DENSE_REQUIRED["expand"])
