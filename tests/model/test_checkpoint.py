"""Sizes read off checkpoints: every spelling that configs use, and one clear line for what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from autotune.errors import InputError
from autotune.model.checkpoint import infer_sizes

MOE = {"hidden_size": 4096, "num_experts": 64, "moe_intermediate_size": 1408, "num_experts_per_tok": 6}


def write(folder: Path, name: str, content: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "model"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return tmp_path / "adapter"


def test_no_paths_no_sizes() -> None:
    assert infer_sizes(None, None) == {}


@pytest.mark.parametrize("name", ["hidden_size", "n_embd", "d_model"])
def test_hidden_size_under_every_name(model: Path, name: str) -> None:
    write(model, "config.json", {name: 5120, "intermediate_size": 20480})
    assert infer_sizes(model, None) == {"hidden_size": 5120}


def test_the_config_file_itself_will_do(model: Path) -> None:
    write(model, "config.json", {"hidden_size": 5120})
    assert infer_sizes(model / "config.json", None) == {"hidden_size": 5120}


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("num_experts", "num_experts"),
        ("num_experts", "moe_num_experts"),
        ("num_experts", "num_local_experts"),
        ("num_experts", "n_routed_experts"),
        ("moe_intermediate_size", "moe_intermediate_size"),
        ("moe_intermediate_size", "ffn_hidden_size"),
        ("moe_intermediate_size", "intermediate_size"),
        ("top_k_num", "num_experts_per_tok"),
        ("top_k_num", "num_experts_per_token"),
        ("top_k_num", "moe_top_k"),
        ("top_k_num", "top_k"),
    ],
)
def test_sizes_of_experts_under_every_name(model: Path, flag: str, name: str) -> None:
    canonical = "num_experts_per_tok" if flag == "top_k_num" else flag
    config = {key: value for key, value in MOE.items() if key != canonical} | {name: 12}
    write(model, "config.json", config)
    assert infer_sizes(model, None)[flag] == 12


def test_multimodal_configs_keep_sizes_one_level_down(model: Path) -> None:
    write(model, "config.json", {"hidden_size": 1152, "text_config": MOE})
    assert infer_sizes(model, None) == {
        "hidden_size": 4096,
        "num_experts": 64,
        "moe_intermediate_size": 1408,
        "top_k_num": 6,
    }


@pytest.mark.parametrize("file", ["adapter_config.json", "config.json"])
@pytest.mark.parametrize("name", ["r", "lora_r", "lora_rank"])
def test_rank_under_every_name(adapter: Path, file: str, name: str) -> None:
    write(adapter, file, {name: 16})
    assert infer_sizes(None, adapter) == {"lora_rank": 16}


def test_rank_of_weights_where_no_config_tells(adapter: Path) -> None:
    write(adapter, "adapter_config.json", {"peft_type": "LORA"})
    weights = {
        "q_proj.lora_A.weight": np.zeros((16, 512), np.float16),
        "q_proj.lora_B.weight": np.zeros((512, 16), np.float16),
        "embed.weight": np.zeros((4, 4), np.float16),
    }
    save_file(weights, adapter / "adapter_model.safetensors")
    assert infer_sizes(None, adapter) == {"lora_rank": 16}
    assert infer_sizes(None, adapter / "adapter_model.safetensors") == {"lora_rank": 16}


def test_model_and_adapter_together(model: Path, adapter: Path) -> None:
    write(model, "config.json", {"hidden_size": 5120})
    write(adapter, "adapter_config.json", {"r": 32})
    assert infer_sizes(model, adapter) == {"hidden_size": 5120, "lora_rank": 32}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "--model-path: cannot read .*model", id="missing"),
        pytest.param("{", r"--model-path: cannot read .*config\.json", id="malformed"),
        pytest.param("[1]", r"--model-path: .* holds no JSON object", id="no object"),
        pytest.param(
            {"vocab_size": 1}, r"no hidden size \(hidden_size, n_embd, d_model\); give --hidden-size", id="none"
        ),
        pytest.param({"hidden_size": "5120"}, "no hidden size", id="not a number"),
    ],
)
def test_a_model_that_tells_no_size_is_refused(model: Path, content: Any, message: str) -> None:
    if content is not None:
        write(model, "config.json", content)
    with pytest.raises(InputError, match=message):
        infer_sizes(model, None)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        pytest.param(None, None, "--lora-path: got .*, no such folder", id="missing"),
        pytest.param("notes.txt", "", "has no rank, neither in adapter_config.json, config.json", id="empty"),
        pytest.param("adapter_config.json", "{", "--lora-path: cannot read", id="malformed"),
        pytest.param("adapter_config.json", {"r": None}, "has no rank.*give --lora-rank", id="null"),
        pytest.param("adapter_config.json", {"r": "16"}, r"adapter_config\.json: r: got '16'", id="not a number"),
        pytest.param("adapter_config.json", {"r": -8}, r"adapter_config\.json: r: got -8, allowed", id="negative"),
        pytest.param("adapter_config.json", {"r": True}, r"adapter_config\.json: r: got True", id="a boolean"),
        pytest.param("config.json", {"lora_r": 0}, r"config\.json: lora_r: got 0", id="none at all"),
        pytest.param("adapter_config.json", {"r": 8, "rank_pattern": 3}, "rank_pattern: got 3", id="no pattern"),
        pytest.param(
            "adapter_config.json",
            {"r": 8, "rank_pattern": {"q_proj": "x"}},
            "rank_pattern q_proj: got 'x'",
            id="pattern",
        ),
        pytest.param("a.safetensors", "no weights", "is not a readable safetensors file", id="not safetensors"),
    ],
)
def test_an_adapter_that_tells_no_rank_is_refused(adapter: Path, file: str | None, content: Any, message: str) -> None:
    if file is not None:
        write(adapter, file, content)
    with pytest.raises(InputError, match=message):
        infer_sizes(None, adapter)


def test_a_module_may_have_a_larger_rank_of_its_own(adapter: Path) -> None:
    write(adapter, "adapter_config.json", {"r": 8, "rank_pattern": {"q_proj": 32, "layers.0.up_proj": 4}})
    assert infer_sizes(None, adapter) == {"lora_rank": 32}


def test_weights_without_lora_tell_no_rank(adapter: Path) -> None:
    adapter.mkdir()
    save_file({"embed.weight": np.zeros((4, 4), np.float16)}, adapter / "model.safetensors")
    with pytest.raises(InputError, match="has no rank"):
        infer_sizes(None, adapter)
