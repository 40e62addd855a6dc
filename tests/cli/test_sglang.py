"""SGLang's kernels on the command line, on recorded spaces: chunk sizes, names, all layers of a block, advice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from autotune.measure.recording import RECORDED_DIR
from tests.builders.samples import BLOCK_EXPERTS, DECODER_BLOCK
from tests.conftest import Cli

SHRINK = "--hidden-size 1024 --lora-rank 64 --num-slices 3"
EXPAND = "--op-type csgmv_expand --slice-widths 2048,1024,1024 --lora-rank 64 --num-slices 3"
QUICK = "--trials 4 --stop none --sampler random"
ONE_TRIAL = "--trials 1 --stop none --sampler random"
BLOCK = "--runtime sglang --hidden-size 1024 --qkv-output-dim 2048,1024 --intermediate-size 3072 --rank 64"
NAME = "csgmv_shrink-t30720-k1024-r64-s3-chunk{}-prefill-float16-NVIDIA_H200-replay"
FOLDER = Path("tuned/csgmv_configs/triton_3_6_0")
QKV = FOLDER / "lora_shrink,K=1024,R=64,S=3,device=NVIDIA_H200.json"


def names(cli: Cli) -> list[str]:
    return [item["name"] for item in json.loads(cli.ok("study list --json"))]


@pytest.mark.parametrize("op_type", ["shrink", "lora_shrink", "csgmv_shrink"])
def test_each_name_of_the_kernel_means_sglangs(cli: Cli, op_type: str) -> None:
    made = cli.ok(f"study create --runtime sglang --op-type {op_type} --chunk-sizes 16,128", SHRINK)
    assert made.split() == [NAME.format(16), NAME.format(128)] == names(cli)


def test_without_a_runtime_names_mean_what_they_did(cli: Cli) -> None:
    assert cli.ok("study create", cli.SHRINK).startswith("lora_shrink-")
    assert cli.ok("study create --tag vllm --runtime vllm", cli.SHRINK.replace("lora_shrink", "shrink")).startswith(
        "lora_shrink-"
    )
    assert cli.ok("study create --op-type csgmv_shrink --dim chunk_size=16", SHRINK) == f"{NAME.format(16)}\n"


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ("--runtime vllm --op-type csgmv_shrink", ["'csgmv_shrink', a kernel of sglang", "--runtime vllm"]),
        ("--runtime sglang --op-type fused", ["'fused'", "csgmv_expand, csgmv_shrink"]),
        ("--runtime tgi --op-type shrink", ["--runtime", "'tgi'", "sglang"]),
        ("--runtime sglang", ["--op-type", "not given"]),
        ("--op-type csgmv_shrink --m-values 16", ["--m-values", "--total-tokens"]),
        ("--runtime sglang --op-type fused_moe_lora", ["'fused_moe_lora'", "--runtime sglang", "csgmv_shrink"]),
        ("--op-type csgmv_shrink --fully-sharded", ["--fully-sharded", "not a flag of SGLang's", "leave it out"]),
        ("--op-type lora_shrink --chunk-sizes 16", ["--chunk-sizes", "not a flag of vLLM's", "leave it out"]),
        ("--op-type lora_expand --workload mixed", ["--workload", "not a flag of vLLM's"]),
        ("--op-type fused_moe_lora --total-tokens 64", ["--total-tokens", "not a flag of vLLM's"]),
        ("--op-type csgmv_shrink --expand-add-inputs 0", ["--expand-add-inputs"]),
        ("--op-type csgmv_shrink --sort-by-lora-id 1", ["--sort-by-lora-id"]),
        ("--op-type csgmv_shrink --num-experts 8", ["--num-experts"]),
        ("--op-type csgmv_shrink --top-k-num 2", ["--top-k-num"]),
        ("--op-type csgmv_shrink --moe-intermediate-size 64", ["--moe-intermediate-size"]),
        ("--op-type csgmv_shrink --routing zipf", ["--routing"]),
        ("--op-type csgmv_shrink --topk-ids ids.txt", ["--topk-ids"]),
        ("--op-type csgmv_shrink --path one-shot", ["--path"]),
        (
            "--op-type csgmv_expand --slice-widths 64,64,64 --output-dim 128",
            ["--output-dim", "128", "192", "leave one"],
        ),
        ("--op-type csgmv_shrink --workload chat", ["workload", "'chat'", "prefill, decode, mixed"]),
        ("--op-type csgmv_shrink --max-lora-chunk-size 48", ["--max-lora-chunk-size", "48", "16, 32, 64, 128"]),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(cli: Cli, flags: str, parts: list[str]) -> None:
    refused = cli("study create", flags, SHRINK)
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1
    assert not [part for part in parts if part not in refused.stderr], refused.stderr
    assert not cli.database.exists()


def test_every_batch_of_a_server_is_reached_by_flags(cli: Cli) -> None:
    """None has a recording; the error names the problem that was understood."""
    for flags, label in (
        ("--workload decode --total-tokens 1", "t1-k1024-r64-s3-chunk16-decode-float16"),
        ("--num-loras 3 --adapter-ranks 64,16,16", "-l3-ranks64x16x16-prefill-"),
        ("--num-loras 4 --num-active-loras 2 --adapter-shares equal", "-l4-a2-equal-prefill-"),
        ("--workload mixed --decode-requests 4,32", "-l8-mixed-d4x32-"),
    ):
        refused = cli("study create --op-type csgmv_shrink --chunk-sizes 16", SHRINK, flags)
        assert label in refused.stderr


def test_equal_slice_widths_are_not_taken_for_one(cli: Cli) -> None:
    made = cli.ok("study create --chunk-sizes 16", EXPAND)
    assert made.startswith("csgmv_expand-t30720-n2048x1024x1024-r64-s3-chunk16-")
    equal = cli.ok(
        "study create --op-type csgmv_expand --output-dim 6144 --lora-rank 64 --num-slices 2 --dim chunk_size=16"
    )
    assert equal.startswith("csgmv_expand-t30720-n3072x3072-")


@pytest.fixture(scope="module")
def _tuned_once(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    with Cli.once(tmp_path_factory.mktemp("tuned")) as made:
        made.ok("study create --runtime sglang --op-type shrink --chunk-sizes 16,128", SHRINK)
        made.ok("study create", made.SHRINK)
        made.ok("study run", QUICK)
    return made


@pytest.fixture
def tuned(cli: Cli, _tuned_once: Cli) -> Cli:
    """Returns two finished studies of one file's chunk sizes, and one of vLLM's."""
    return cli.take(_tuned_once)


def test_export_of_one_runtime(tuned: Cli) -> None:
    done = tuned("study export --runtime sglang --dir tuned")
    assert done.exit_code == 0
    assert [path.name for path in Path("tuned").rglob("*.json")] == ["autotune-provenance.json", QKV.name]
    assert f"SGLANG_LORA_CONFIG_DIR={Path('tuned').resolve()}" in done.stdout
    assert "vllm serve" not in done.stdout
    tuned.ok("study export --dir all")
    assert {path.name for path in Path("all").rglob("*S*.json")} >= {"NVIDIA_H200_SHRINK.json", QKV.name}
    tuned.ok("study delete --yes", NAME.format(16))
    tuned.ok("study delete --yes", NAME.format(128))
    refused = tuned("study export --runtime sglang --dir tuned")
    assert (refused.exit_code, "of sglang is finished" in refused.stderr) == (2, True)


def test_files_written_beside_are_no_other_gpus(tuned: Cli) -> None:
    tuned.ok("study export --runtime sglang --dir tuned")
    beside = tuned.ok("study export --runtime sglang --dir tuned --on-exist new")
    assert "_tuned_1.json" in beside
    assert "Serve with it" not in beside, "nothing of it is read"
    checked = tuned("config check tuned --runtime sglang")
    assert "1 file, 1 finding." in checked.stdout
    assert "no server reads a file of this name" in checked.stdout
    call = "config lookup tuned --runtime sglang --op shrink --k 1024 --lora-rank 64 --num-slices 3 --chunk-size 16"
    assert "chunk_size 16 -> 16 (exact)" in tuned.ok(call, "--triton 3.6.0")


def test_chunk_sizes_not_tuned_get_the_default(tuned: Cli) -> None:
    tuned.ok("study export --runtime sglang --dir tuned")
    table = json.loads(QKV.read_text())
    assert list(table) == ["16", "32", "64", "128"]
    assert table["32"] == table["64"] == {"BLOCK_N": 16, "BLOCK_K": 256}
    best = json.loads(tuned.ok("study best --json", NAME.format(16)))["config"]
    assert table["16"] == {name: value for name, value in best.items() if value is not None}


BEST_JSON = "study best --json"
ADVICE = "Note: --max-lora-chunk-size 16 (its default), 32, 64: of these entries the server reads 16."


def test_advice_comes_with_every_result(cli: Cli) -> None:
    cli.ok("study create --runtime sglang --op-type shrink --chunk-sizes 16,128", SHRINK)
    for done in (cli("study run", QUICK), cli("study export --dir tuned")):
        assert ADVICE in done.stderr
        assert "--max-lora-chunk-size 128: of these entries the server reads 16, 128." in done.stderr
        assert "+21%" in done.stderr
        assert ADVICE not in done.stdout
    assert "the server reads 128." in cli.ok("study show", NAME.format(128))
    assert "the server reads 128." in cli("study best", NAME.format(128)).stderr
    assert any("the server reads 128." in line for line in json.loads(cli.ok(BEST_JSON, NAME.format(128)))["advice"])
    entries = json.loads(Path("tuned/autotune-provenance.json").read_text())["entries"]
    own = {entry["key"][0]: entry["provenance"]["advice"] for entry in entries if entry["kind"] == "own"}
    assert own.keys() == {"16", "128"}
    assert all("+21%" in lines[-1] for lines in own.values())
    assert any("the server reads none" in line for line in own["128"])
    report = json.loads(cli.ok("study export --json --dir tuned"))
    assert any("+21%" in warning for warning in report["warnings"])


def test_no_advice_on_sglang_with_vllms_results(finished: Cli) -> None:
    done = finished("study export --dir tuned")
    assert "chunk" not in done.stderr
    assert "advice" not in json.loads(finished.ok(BEST_JSON, "lora_shrink-*"))


@pytest.mark.parametrize("files", ["", "--save-json-dir tuned"])
def test_of_a_planned_server_only_the_advice_of_its_plan_is_given(cli: Cli, files: str) -> None:
    flags = "--model Qwen3-Embedding-0.6B --runtime sglang --lora-rank 64 --max-loras 1 --dtype float16 "
    for size, told in (("16", True), ("128", False)):
        done = cli("tune --json-overwrite", flags, ONE_TRIAL, files, "--chunk-sizes 16 --max-lora-chunk-size", size)
        assert done.exit_code == 0, done.output
        assert ("raise --max-lora-chunk-size to 128 first" in done.output) == told
        assert "of these entries the server reads" not in done.output


def test_a_plan_is_printed_by_the_name_that_its_studies_have_it_by(cli: Cli) -> None:
    flags = (
        "--model Qwen3-Embedding-0.6B --runtime sglang --lora-rank 64 --max-loras 1 --dtype float16 --chunk-sizes 16"
    )
    printed = cli.ok("tune --tag mine", flags, ONE_TRIAL).split()[0]
    assert printed.endswith("-mine")
    assert len(cli.ok("study list --plan", printed).splitlines()) == 8, "a header, and seven studies"


def test_all_layers_with_the_scripts_flags(cli: Cli) -> None:
    command = ("tune", BLOCK, "--chunk-sizes 16,128 --total-tokens 30720 --save-json-dir tuned --json-overwrite", QUICK)
    done = cli(*command)
    assert done.exit_code == 0, done.output
    assert len(names(cli)) == 14, "the expand of o and down is tuned once"
    assert {path.name for path in FOLDER.iterdir()} == {path.name for path in reference_files()}
    lines = [line.split() for line in done.stdout.splitlines()]
    rows = [line for line in lines if line[:1] and line[0] in ("qkv", "o", "gate_up", "down") and line[1:2] != []]
    table = [row[:3] for row in rows if row[1] in ("shrink", "expand")]
    assert table == [
        [layer, op, chunk]
        for layer in ("qkv", "o", "gate_up", "down")
        for op in ("shrink", "expand")
        for chunk in ("16", "128")
    ]
    assert ["saved", "a", "layer,", "us", "chunk", "16", "chunk", "128"] in lines
    assert ADVICE in done.stderr
    assert "Note: measured on prefill only; decode batches are looked up by the same key" in done.stderr
    before, _, _ = done.stdout.partition("tuned/")
    assert cli.ok(*command).startswith(before), "nothing is measured twice"


def test_layers_of_both_kernels_are_told_apart_and_compared(cli: Cli) -> None:
    """What one saves is not added to what the other does."""
    recorded = Path("recorded")
    recorded.mkdir()
    shutil.copy(RECORDED_DIR / "machine.toml", recorded)
    for file in RECORDED_DIR.glob("sglang_*_R64_*_chunk16.csv.gz"):
        shutil.copy(file, recorded)
        shutil.copy(file, recorded / file.name.replace("sglang_", "builtin_"))
    tune = f"tune {BLOCK} --chunk-sizes 16 --backend replay --recorded recorded"
    alone = [cli.ok(tune, f"--source {one} --storage sqlite:///{one}.db", ONE_TRIAL) for one in ("auto", "builtin")]
    told = cli.ok(tune, "--source both", ONE_TRIAL)
    saved, separately = ([line for line in text.splitlines() if "all  " in line] for text in (told, "\n".join(alone)))
    assert len(saved) == 2
    assert saved == separately
    assert "the kernels of sglang: NVIDIA H200" in told
    assert "our kernels: NVIDIA H200" in told
    _, _, compared = told.partition("The server's kernels and ours")
    assert len([line for line in compared.splitlines() if " R 64, S " in line]) == 7


def reference_files() -> list[Path]:
    return list((Path(__file__).parents[1] / "data" / "sglang_csgmv_h200_triton_3_5_1").iterdir())


def test_a_models_config_gives_the_layers(cli: Cli) -> None:
    Path("config.json").write_text(json.dumps(DECODER_BLOCK))
    cli.ok("tune --runtime sglang --model config.json --rank 64 --chunk-sizes 16", ONE_TRIAL)
    from_model = names(cli)
    cli.ok("tune --runtime sglang --model . --qkv-output-dim 4096 --rank 64 --chunk-sizes 16", ONE_TRIAL)
    named = cli("tune --model Qwen/Qwen3-Embedding-0.6B --chunk-sizes 16", BLOCK, ONE_TRIAL)
    assert "Qwen3-Embedding-0.6B is no local checkpoint: all sizes are those of the flags" in named.stderr
    assert names(cli) == from_model
    assert len(from_model) == 7


@pytest.mark.parametrize("name", ["num_experts", "num_local_experts", "n_routed_experts"])
def test_a_model_of_experts_has_no_mlp_to_tune(cli: Cli, name: str) -> None:
    Path("config.json").write_text(json.dumps(DECODER_BLOCK | BLOCK_EXPERTS | {name: 8}))
    command = ("tune --runtime sglang --model config.json --rank 64 --chunk-sizes 16", ONE_TRIAL)
    done = cli(*command)
    assert "experts: SGLang reads no file for their LoRA kernels" in done.stderr
    assert "gate_up" not in done.stdout
    assert [made.split("-r64")[0] for made in names(cli)] == [
        "csgmv_shrink-t30720-k1024",
        "csgmv_shrink-t30720-k2048",
        "csgmv_expand-t30720-n2048x1024x1024",
        "csgmv_expand-t30720-n1024",
    ]
    assert "gate_up" in cli.ok(*command, "--intermediate-size 3072")


def test_what_the_script_assumes_is_assumed_and_said(cli: Cli) -> None:
    """A hidden size alone: the layers of Qwen3-Embedding-0.6B."""
    flags = "--runtime sglang --hidden-size 1024 --rank 64 --chunk-sizes 16 128 --total-tokens 30720"
    done = cli("tune", flags, ONE_TRIAL)
    assert done.exit_code == 0, done.output
    assumed = names(cli)
    assert len(assumed) == 14
    assert "--qkv-output-dim 4096 is taken to be 2048 for q, 1024 for k and v each" in done.stderr
    assert "--intermediate-size is taken to be 3072" in done.stderr
    assert done.stdout.count("measured on prefill only") == 1
    assert ADVICE in done.stderr
    assert "--save-json-dir" in done.stderr
    cli.ok("tune", BLOCK, "--chunk-sizes 16,128", ONE_TRIAL)
    assert names(cli) == assumed


@pytest.mark.parametrize("words", [" 16,128", " 16 128", " 128 16", "=16 128", "=16,128"])
def test_chunk_sizes_may_be_words_of_their_own(cli: Cli, words: str) -> None:
    flags = f"study create --chunk-sizes{words} --op-type csgmv_shrink"
    assert set(cli.ok(flags, SHRINK).split()) == {NAME.format(16), NAME.format(128)}


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ("tune --runtime sglang --rank 64", ["--hidden-size", "--model"]),
        ("tune --runtime sglang --rank 64 --hidden-size 1024 --qkv-output-dim 4097", ["4097", "2048,1024"]),
        ("tune --runtime sglang --rank 64 --hidden-size 8 --qkv-output-dim 8,4,4,4", ["8,4,4,4", "2048,1024"]),
        ("study create --op-type shrink --chunk-sizes", ["--chunk-sizes"]),
        (
            "tune --runtime sglang --rank 64 --model nowhere/config.json",
            ["nowhere/config.json", "a preset", "Qwen3-8B"],
        ),
        ("tune --runtime sglang --rank 64 --model Qwen3-8B --tp 2", ["--max-loras: not given", "--tp 2"]),
        ("tune --runtime vllm --rank 64 --model Qwen3-8B", ["--max-loras: not given"]),
        ("tune --rank 64 --model Qwen3-8B", ["--runtime: not given", "--max-loras", "--runtime sglang"]),
        (f"tune {BLOCK} --num-slices 3", ["--num-slices", "single layer"]),
        (f"tune {BLOCK} --slice-widths 64,64", ["--slice-widths", "single layer"]),
        (f"tune {BLOCK} --output-dim 64", ["--output-dim", "single layer"]),
        (f"tune {BLOCK} --routing zipf", ["--routing", "not a flag of SGLang's"]),
        (f"tune {BLOCK} --m-values 16", ["--m-values", "--total-tokens"]),
        ("tune --op-type lora_shrink --qkv-output-dim 2048,1024", ["--qkv-output-dim", "--runtime sglang"]),
        (
            "tune --runtime sglang --model Qwen3-8B --rank 64 --dual-stream",
            ["--dual-stream", "no --max-loras is given"],
        ),
        ("tune --runtime sglang --hidden-size 64 --rank 64 --dual-stream", ["--dual-stream", "no --model is given"]),
    ],
)
def test_layers_that_make_no_sense_are_refused_in_a_line(cli: Cli, flags: str, parts: list[str]) -> None:
    refused = cli(flags)
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1
    assert not [part for part in parts if part not in refused.stderr], refused.stderr
    assert not cli.database.exists()
