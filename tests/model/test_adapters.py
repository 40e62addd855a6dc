"""What adapters tell of their ranks and modules, in every spelling, and one clear line for what cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from autotune.errors import InputError
from autotune.model.adapters import rank, target_modules
from tests.builders.checkpoints import write


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return tmp_path / "adapter"


@pytest.mark.parametrize("file", ["adapter_config.json", "config.json"])
@pytest.mark.parametrize("name", ["r", "lora_r", "lora_rank"])
def test_rank_under_every_name(adapter: Path, file: str, name: str) -> None:
    write(adapter, file, {name: 16})
    assert rank(adapter) == 16


def test_rank_of_weights_where_no_config_tells(adapter: Path) -> None:
    write(adapter, "adapter_config.json", {"peft_type": "LORA"})
    weights = {
        "q_proj.lora_A.weight": np.zeros((16, 512), np.float16),
        "q_proj.lora_B.weight": np.zeros((512, 16), np.float16),
        "embed.weight": np.zeros((4, 4), np.float16),
    }
    save_file(weights, adapter / "adapter_model.safetensors")
    assert rank(adapter) == 16
    assert rank(adapter / "adapter_model.safetensors") == 16


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
        rank(adapter)


def test_a_module_may_have_a_larger_rank_of_its_own(adapter: Path) -> None:
    write(adapter, "adapter_config.json", {"r": 8, "rank_pattern": {"q_proj": 32, "layers.0.up_proj": 4}})
    assert rank(adapter) == 32


def test_weights_without_lora_tell_no_rank(adapter: Path) -> None:
    adapter.mkdir()
    save_file({"embed.weight": np.zeros((4, 4), np.float16)}, adapter / "model.safetensors")
    with pytest.raises(InputError, match="has no rank"):
        rank(adapter)


def test_the_modules_of_several_adapters_together(tmp_path: Path) -> None:
    one = write(tmp_path / "one", "adapter_config.json", {"r": 8, "target_modules": ["layers.0.v_proj", "q_proj"]})
    other = write(tmp_path / "other", "adapter_config.json", {"r": 8, "target_modules": ["o_proj"]})
    silent = write(tmp_path / "silent", "adapter_config.json", {"r": 8})
    assert target_modules([one, other]) == ("q_proj", "v_proj", "o_proj")
    assert target_modules([one, silent]) is None
    assert target_modules([tmp_path]) is None


def test_modules_that_are_not_known_or_cannot_be_read(adapter: Path) -> None:
    write(adapter, "adapter_config.json", {"target_modules": ["q_prol"]})
    with pytest.raises(InputError, match="the adapters target q_prol, known here: qkv_proj, q_proj"):
        target_modules([adapter])
    write(adapter, "adapter_config.json", "{")
    with pytest.raises(InputError, match=r"--lora-path: cannot read .*give the folder of a local adapter"):
        target_modules([adapter])
