"""The tiles of the experts' LoRA without a config folder: the package's own, else the server's rule."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.contract import registry
from autotune.contract.gpu import H200
from autotune.contract.space import Space
from autotune.kernels.fused_moe_lora.problem import MoeProblem
from autotune.servers.vllm.base_moe import BaseExperts, no_folder_config

SHRINK, EXPAND = "fused_moe_lora_w13_shrink", "fused_moe_lora_w2_expand"
PROBLEM = MoeProblem("bfloat16", 512, 2048, 16, 768, 2, num_experts=128, top_k=8, max_loras=4)

pytestmark = pytest.mark.usefixtures("served_package")


def package(folder: Path, name: str) -> None:
    tiles = {"BLOCK_SIZE_N": 128, "BLOCK_SIZE_K": 64, "GROUP_SIZE_M": 16, "num_warps": 8, "num_stages": 2}
    content = {"triton_version": "3.4.0", "64": {"BLOCK_SIZE_M": 16, **tiles}, "1024": {"BLOCK_SIZE_M": 256, **tiles}}
    configs = folder / "vllm" / "model_executor" / "layers" / "fused_moe" / "configs"
    configs.mkdir(parents=True, exist_ok=True)
    (configs / name).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("m", "block_m", "stages"),
    [(1, 16, 4), (32, 16, 4), (33, 32, 3), (96, 32, 3), (97, 64, 3), (512, 64, 3), (513, 128, 3)],
)
def test_without_a_file_they_grow_with_m(m: int, block_m: int, stages: int) -> None:
    found = no_folder_config(SHRINK, BaseExperts(m, 128, 768), 16, H200)
    assert (found["block_m"], found["num_stages"], found["split_k"]) == (block_m, stages, 1)
    assert found["block_n"] == 16
    assert no_folder_config(EXPAND, BaseExperts(m, 128, 768), 8, H200)["block_k"] == 16


@pytest.mark.parametrize("gpu", ["NVIDIA H200", "NVIDIA H200 NVL"])
def test_the_packages_file_is_read_at_the_nearest_m(tmp_path: Path, gpu: str) -> None:
    package(tmp_path, "E=128,N=768,device_name=NVIDIA_H200.json")
    here = replace(H200, name=gpu)
    small, large = (no_folder_config(EXPAND, BaseExperts(m, 128, 768), 256, here) for m in (8, 8192))
    assert (small["block_m"], large["block_m"]) == (16, 256)
    assert (small["block_k"], small["num_warps"], small["group_size_m"]) == (64, 8, 16)
    assert no_folder_config(EXPAND, BaseExperts(8, 64, 768), 256, here)["num_warps"] == 4, "of other experts"


def test_a_group_begins_with_them_and_holds_the_folders_default(tmp_path: Path) -> None:
    package(tmp_path, "E=128,N=768,device_name=NVIDIA_H200.json")
    for side, problem in (("gate_up", PROBLEM), ("down", replace(PROBLEM, num_slices=1))):
        kernel = registry.load(f"fused_moe_lora_{side}_one_shot@vllm-0.33.0")
        assert kernel.default_config(problem, H200) == {"block_m": 16}
        assert kernel.default_config(replace(problem, m=2048), H200) == {"block_m": 256}
        assert kernel.other_defaults(problem, H200) == ({"block_m": 64},)
        space = Space.build(kernel, replace(problem, m=2048), H200, "wide")
        assert [config["block_m"] for config in space.configs] == [256, 64, 16, 32, 128]
        kernel.make_inputs(replace(problem, m=16), "meta", 0)
