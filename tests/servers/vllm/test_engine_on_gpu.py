"""The real engine of the vLLM that is installed, four layers: only with ``--device cuda``, where vLLM runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.environment import gpu_of_driver, installed_version
from autotune.servers.vllm import facts
from autotune.servers.vllm.server import VLLM
from tests.conftest import Cli

COMMAND = (
    "bench serve Qwen3-8B --set num_hidden_layers=4 --lora-rank 16 --max-loras 4 --decode 16 --prefill 2x256 "
    "--rounds 1 --json"
)


@pytest.fixture(autouse=True)
def _on_gpu(device: str) -> None:
    if device != "cuda" or installed_version(facts.NAME) is None:
        pytest.skip("needs --device cuda and vLLM")


def test_four_variants_of_the_real_engine(cli: Cli, tmp_path: Path) -> None:
    gpu = gpu_of_driver()
    assert gpu is not None
    folder = tmp_path / "tuned"
    folder.mkdir()
    config = {
        "block_m": 32,
        "block_n": 16,
        "block_k": 64,
        "split_k": 16,
        "num_warps": 4,
        "num_stages": 2,
        "num_ctas": 1,
    }
    by_slices = {s: {"16": {str(k): {"16": config} for k in (4096, 12288)}} for s in ("1", "2", "3")}
    (folder / f"{facts.gpu_in_file(gpu)}_SHRINK.json").write_text(json.dumps({"5": by_slices}))
    assert VLLM.checker.readers(folder)
    found = json.loads(cli.ok(COMMAND, "--dir", folder))
    processes = {each["variant"]: each for each in found["processes"]}
    assert list(processes) == ["A", "B", "C", "N"]
    assert len(processes["B"]["files_read"]) == 1
    assert processes["A"]["kernels_of"] == processes["B"]["kernels_of"] == [facts.NAME]
    assert processes["N"]["kernels_of"] == []
    assert not any(each["jit_compiles"] for each in processes.values())
    cells = {(cell["variant"], cell["phase"]): cell for cell in found["cells"]}
    # Each layer shrinks and expands for qkv, o, gate_up and down; embeddings and lm_head take LoRA, too.
    assert cells["A", "decode 16"]["launches_a_step"] >= 4 * 4 * 2
    assert cells["A", "decode 16"]["launches_a_step"] == cells["B", "decode 16"]["launches_a_step"]
