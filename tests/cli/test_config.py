"""`config check`, `config lookup` and `config diff` from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.builders.samples import VLLM_ENTRY

if TYPE_CHECKING:
    from tests.conftest import Cli

SHRINK = "tuned/NVIDIA_H200_SHRINK.json"
CALL = "config lookup tuned --runtime vllm --op shrink --max-loras 4 --num-slices 3 --k 4096 --n 16"


def write(name: str, content: object) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def folder() -> None:
    by_m = {m: {"4096": {"16": VLLM_ENTRY}} for m in ("16", "32")}
    write(SHRINK, {"5": dict.fromkeys(("1", "2", "3"), by_m)})


@pytest.mark.usefixtures("folder")
class TestLookup:
    def test_says_the_keys_and_the_tie(self, cli: Cli) -> None:
        said = cli.ok(CALL, "--m 24")
        assert "max_loras 5 -> 5 (exact)" in said
        assert "m 24 -> 16 (nearest; just as near: 32, the first in the file is taken)" in said
        assert "config: block_m 16" in said

    def test_as_json(self, cli: Cli) -> None:
        data = json.loads(cli.ok(CALL, "--m 16 --json"))
        assert data["config"] == VLLM_ENTRY
        assert [step["match"] for step in data["steps"]] == ["exact"] * 5
        assert data["failure"] is None

    def test_a_crash_is_told_and_exits_with_1(self, cli: Cli) -> None:
        done = cli(CALL.replace("--num-slices 3", "--num-slices 4"), "--m 16")
        assert done.exit_code == 1
        assert "the server fails: KeyError at num_slices" in done.stdout

    def test_a_default(self, cli: Cli) -> None:
        said = cli.ok(CALL.replace("--op shrink", "--op expand"), "--m 16")
        assert "not there" in said
        assert "built-in default: block_m 64" in said

    def test_the_experts_look_up_max_loras_itself(self, cli: Cli) -> None:
        leaf = {"4": {"2": {"16": {"16": {"2048": {"768": {"block_m": 32}}}}}}}
        write("tuned/NVIDIA_H200_FUSED_MOE_LORA_W13_SHRINK.json", leaf)
        call = "config lookup tuned --runtime vllm --op fused_moe_lora_w13_shrink --max-loras 4 --num-slices 2"
        said = cli(call, "--m 16 --k 16 --n 2048 --intermediate 768")
        assert "max_loras 4 -> 4 (exact)" in said.stdout
        assert "i 768 -> 768 (exact)" in said.stdout
        assert "block_m 32" in said.stdout

    @pytest.mark.parametrize(
        ("flags", "parts"),
        [
            (CALL, ["--m: not given", "--num-slices"]),
            (CALL.replace("tuned", "nowhere") + " --m 16", ["nowhere", "no such folder"]),
            ("config lookup . --runtime vllm --op shrink --max-loras 4 --num-slices 3 --k 8 --n 8 --m 1", ["--gpu"]),
            ("config lookup tuned --runtime sglang --op fused_moe_lora_w2_shrink", ["--op", "no file"]),
            ("config lookup tuned --runtime sglang --op shrink --k 8", ["--lora-rank: not given", "--chunk-size"]),
            ("config lookup tuned --runtime sglang --op shrink --k 8 --m 16", ["--m", "--runtime sglang"]),
            ("config lookup tuned --runtime sglang --op shrink --expand-add-inputs 1", ["--expand-add-inputs"]),
            (CALL + " --m 16 --lora-rank 16", ["--lora-rank", "--runtime vllm"]),
            (CALL + " --m 16 --chunk-size 16", ["--chunk-size", "--runtime vllm"]),
            (CALL + " --m 16 --triton 3.6.0", ["--triton", "--runtime vllm"]),
        ],
    )
    def test_a_call_that_cannot_be_looked_up(self, cli: Cli, flags: str, parts: list[str]) -> None:
        done = cli(flags)
        assert done.exit_code == 2
        assert done.stderr.count("\n") == 1
        assert not [part for part in parts if part not in done.stderr], done.stderr


@pytest.mark.parametrize("version", ["3.6.0", "triton_3_6_0", "3_6_0"])
def test_sglangs_lookup_by_its_own_names(cli: Cli, version: str) -> None:
    name = "tuned/csgmv_configs/triton_3_6_0/lora_expand,K=6144,R=64,S=3,device=NVIDIA_H200.json"
    write(name, {"16": {"BLOCK_N": 64, "BLOCK_K": 32}})
    call = "config lookup tuned --runtime sglang --op expand --k 6144 --lora-rank 64 --num-slices 3"
    done = cli(call, f"--chunk-size 16 --triton {version}")
    assert "chunk_size 16 -> 16 (exact)" in done.stdout
    assert "BLOCK_N 64, BLOCK_K 32" in done.stdout
    assert not done.stderr, "the very version's, no fallback"


@pytest.mark.usefixtures("folder")
class TestCheck:
    def test_nothing_found(self, cli: Cli) -> None:
        assert "1 file, 0 findings." in cli.ok("config check tuned --runtime vllm")

    def test_findings_exit_with_1(self, cli: Cli) -> None:
        write(SHRINK, {"5": {"1": {"16": {"4096": {"16": {**VLLM_ENTRY, "block_m": 8}}}}}})
        done = cli("config check tuned --runtime vllm --json")
        assert done.exit_code == 1
        assert [(f["effect"], f["key"][-1:]) for f in json.loads(done.stdout)] == [
            ("crash at start", []),
            ("crash at start", ["block_m"]),
        ]
        said = cli("config check tuned --runtime vllm").stdout
        assert "5/1/16/4096/16/block_m" in said
        assert "powers of two from 16" in said

    @pytest.mark.parametrize("server", ["vllm", "sglang"])
    def test_an_empty_folder(self, cli: Cli, server: str) -> None:
        Path("empty/csgmv_configs").mkdir(parents=True)
        done = cli("config check empty --json --runtime", server)
        assert done.exit_code == 1
        assert [f["defect"] for f in json.loads(done.stdout)] == ["no files"]
        said = cli("config check empty --runtime", server).stdout
        assert "0 files, 1 finding." in said

    def test_with_a_model(self, cli: Cli) -> None:
        flags = "--model Qwen3-8B --lora-rank 16 --max-loras 4 --target-modules o_proj,down_proj --m-values 16"
        done = cli("config check tuned --runtime vllm --json", flags)
        found = [(f["file"], f["defect"]) for f in json.loads(done.stdout)]
        assert (Path(SHRINK).name, "another shape's entry") in found
        assert ("NVIDIA_H200_EXPAND_TRUE.json", "no file") in found

    def test_takes_the_dtype_that_the_plan_was_made_with(self, cli: Cli) -> None:
        flags = "config check tuned --runtime vllm --model Qwen3-8B --lora-rank 16 --max-loras 4 --m-values 16 --dtype"
        assert cli(flags, "float16").exit_code == 1, "it finds something, as with no dtype"
        assert "--dtype: got 'float64', allowed: float16" in cli(flags, "float64").stderr

    @pytest.mark.parametrize(
        ("flags", "parts"),
        [
            ("config check tuned", ["--runtime: not given"]),
            ("config check tuned --runtime vllm --dtype float16", ["--dtype", "--model"]),
            ("config check nowhere --runtime vllm", ["nowhere", "no such folder"]),
            ("config check tuned --runtime vllm --max-loras 4", ["--max-loras", "--model"]),
            ("config check tuned --runtime vllm --model Qwen3-8B --max-loras 4", ["--lora-rank: not given"]),
        ],
    )
    def test_misuse(self, cli: Cli, flags: str, parts: list[str]) -> None:
        done = cli(flags)
        assert done.exit_code == 2
        assert not [part for part in parts if part not in done.stderr], done.stderr


@pytest.mark.usefixtures("folder")
class TestDiff:
    def test_of_folders(self, cli: Cli) -> None:
        write("other/NVIDIA_H200_SHRINK.json", {"5": {"1": {"16": {"4096": {"16": {**VLLM_ENTRY, "num_warps": 8}}}}}})
        write("other/autotune-provenance.json", {"x": {"y": 1}})
        data = json.loads(cli.ok("config diff tuned other --json"))
        assert len(data) == 6
        changed = [d for d in data if d["a"] and d["b"]]
        assert [d["key"] for d in changed] == [["5", "1", "16", "4096", "16"]]
        said = cli.ok("config diff tuned other")
        assert "num_warps 4" in said
        assert "num_warps 8" in said
        assert "no entry" in said
        assert "6 entries differ." in said
        assert cli("config diff tuned other --exit-code").exit_code == 1

    def test_of_equal_files(self, cli: Cli) -> None:
        assert "0 entries differ." in cli.ok("config diff --exit-code", SHRINK, SHRINK)

    def test_two_servers_are_refused(self, cli: Cli) -> None:
        name = "lora_shrink,K=4096,R=16,S=3,device=NVIDIA_H200.json"
        write(f"sgl/{name}", {"16": {"BLOCK_N": 16, "BLOCK_K": 64}})
        for sides in (("tuned", "sgl"), ("sgl", "tuned"), (SHRINK, f"sgl/{name}")):
            done = cli("config diff", *sides)
            assert done.exit_code == 2
            (line,) = done.stderr.splitlines()
            assert "of vllm" in line
            assert "of sglang" in line
        assert cli("config diff sgl sgl").exit_code == 0

    @pytest.mark.parametrize(("a", "b", "part"), [("tuned", SHRINK, "two of a kind"), ("tuned", "none", "no such")])
    def test_misuse(self, cli: Cli, a: str, b: str, part: str) -> None:
        done = cli("config diff", a, b)
        assert done.exit_code == 2
        assert part in done.stderr
