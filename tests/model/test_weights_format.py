"""What a config says of the format of quantised weights."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.errors import InputError
from autotune.model.weights_format import WeightsFormat, weights_format


def read(stated: Any, **config: Any) -> WeightsFormat | None:
    return weights_format({"quantization_config": stated, **config}, "config.json")


@pytest.mark.parametrize("stated", [None, {}, {"bits": 4}, {"quant_method": ""}])
def test_weights_are_plain_where_no_method_is_told(stated: Any) -> None:
    assert read(stated) is None


@pytest.mark.parametrize(
    ("stated", "method", "group", "columns"),
    [
        ({"quant_method": "AWQ", "q_group_size": 64}, "awq", 64, 0),
        ({"quant_method": "gptq", "group_size": -1}, "gptq", 0, 0),
        ({"quant_method": "fp8", "weight_block_size": [64, 128]}, "fp8", 128, 64),
        ({"quant_method": "fp8", "weight_block_size": None}, "fp8", 0, 0),
        (
            {"quant_method": "compressed_tensors", "config_groups": {"group_0": {"weights": {"group_size": 32}}}},
            "compressed-tensors",
            32,
            0,
        ),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": None}}, "compressed-tensors", 0, 0),
    ],
)
def test_a_format_has_groups_that_share_a_scale(stated: dict[str, Any], method: str, group: int, columns: int) -> None:
    found = read(stated)
    assert found is not None
    assert (found.method, found.group, found.columns) == (method, group, columns)


def test_the_format_may_stand_with_the_language_model_and_the_top_counts_first() -> None:
    inner = {"quantization_config": {"quant_method": "fp8"}}
    assert read(None, text_config=inner) == read({"quant_method": "fp8"})
    found = read({"quant_method": "awq"}, text_config=inner)
    assert found is not None
    assert found.method == "awq"


def test_modules_may_have_another_format() -> None:
    found = read({"quant_method": "awq", "modules_to_not_convert": ["lm_head", "model.layers.0.mlp.down_proj"]})
    assert found is not None
    assert [found.has(name) for name in ("lm_head", "down_proj", "o_proj")] == [False, False, True]


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(InputError, match="quantization_config: got"):
        read(["awq"])


@pytest.mark.parametrize(
    ("skipped", "left"),
    [
        (["re:.*lm_head", "model.layers.3.self_attn"], ["down_proj", "gate_proj"]),
        (["re:.*\\.mlp\\.gate_proj$"], ["o_proj", "down_proj"]),
        (["model.layers.0.mlp"], ["o_proj"]),
        (["", "re:.*"], ["o_proj", "down_proj", "gate_proj"]),
    ],
)
def test_lists_may_name_what_modules_stand_in(skipped: list[str], left: list[str]) -> None:
    found = read({"quant_method": "fp8", "ignored_layers": skipped})
    assert found is not None
    assert [name for name in ("o_proj", "down_proj", "gate_proj") if found.has(name)] == [
        name for name in ("o_proj", "down_proj", "gate_proj") if name in left
    ]


def test_blocks_may_be_those_of_a_group_of_layers() -> None:
    weights = {"strategy": "block", "block_structure": [128, 64], "group_size": None}
    found = read({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}, "x": 3}})
    assert found is not None
    assert (found.columns, found.group) == (128, 64)
