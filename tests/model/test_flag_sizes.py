"""Sizes read off checkpoints: every spelling that configs use, and one clear line for what cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autotune.errors import InputError
from autotune.model.fields import NAMES
from autotune.model.flag_sizes import FIELDS, infer_sizes
from autotune.model.shape import load
from tests.builders.checkpoints import write

MOE = {"hidden_size": 4096, "num_experts": 64, "moe_intermediate_size": 1408, "num_experts_per_tok": 6}


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
        pytest.param({"hidden_size": 0}, "no hidden size", id="zero"),
        pytest.param({"hidden_size": "5120"}, r"config\.json: hidden_size: got '5120'.*give --hidden-size", id="text"),
    ],
)
def test_a_model_that_tells_no_size_is_refused(model: Path, content: Any, message: str) -> None:
    if content is not None:
        write(model, "config.json", content)
    with pytest.raises(InputError, match=message):
        infer_sizes(model, None)


def test_what_is_given_need_not_be_in_the_config(model: Path, adapter: Path) -> None:
    write(model, "config.json", {"hidden_size": "5120", "num_experts": 8, "num_experts_per_tok": 2})
    write(adapter, "adapter_config.json", {})
    found = infer_sizes(model, adapter, ["hidden_size", "num_experts", "lora_rank"])
    assert found == {"top_k_num": 2}


def test_a_model_of_one_expert_is_dense(model: Path) -> None:
    write(model, "config.json", MOE | {"num_experts": 1})
    assert infer_sizes(model, None) == {"hidden_size": 4096}


READ = sorted({name for field in FIELDS.values() for name in NAMES[field]})


@given(st.sets(st.sampled_from(READ)), st.sets(st.sampled_from(READ)))
def test_single_problems_have_the_sizes_of_the_plan(
    tmp_path_factory: pytest.TempPathFactory, there: set[str], below: set[str]
) -> None:
    """Whichever names a config has, at the top and one level down."""
    always = {"num_hidden_layers": 2, "num_attention_heads": 8, "vocab_size": 1000, "intermediate_size_mlp": 64}
    fields = {name: 16 * number for number, name in enumerate(READ, start=1)}
    config: dict[str, Any] = always | {name: fields[name] for name in there}
    if below:
        config["text_config"] = {name: fields[name] + 1600 for name in below}
    folder = write(tmp_path_factory.mktemp("model"), "config.json", config)
    try:
        planned = load(str(folder))
    except InputError:
        assume(False)
    sizes = {"hidden_size": planned.hidden}
    if planned.experts:
        sizes |= {"num_experts": planned.experts.count, "top_k_num": planned.experts.top_k}
        sizes |= {"moe_intermediate_size": planned.experts.intermediate}
    assert infer_sizes(folder, None) == sizes


def test_the_config_that_was_read_in_two_ways(model: Path) -> None:
    experts = {"num_experts": 8, "moe_k": 2, "ffn_hidden_size": 512, "intermediate_size": 2048}
    write(model, "config.json", {"hidden_size": 1024, **experts})
    found = infer_sizes(model, None)
    assert (found["moe_intermediate_size"], found["top_k_num"]) == (2048, 2)
