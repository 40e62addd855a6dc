"""Plans of models with quantised weights: what vLLM refuses, and how much larger it makes experts (contracts A18)."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.errors import InputError
from autotune.model.shape import read
from autotune.model.sources import Source
from autotune.plan.plan import Plan, make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from tests.builders.samples import SMALL_MODEL

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
BLOCKS = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
GROUPS: dict[str, Any] = {"num_bits": 4, "group_size": 128, "strategy": "group", "block_structure": None}
PACKED = {
    "quant_method": "compressed-tensors",
    "config_groups": {"group_0": {"targets": ["Linear"], "weights": GROUPS}},
}
SQUARES = {**GROUPS, "group_size": None, "block_structure": [128, 128]}
SQUARE = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": SQUARES}}}
EXPERTS: dict[str, Any] = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "hidden_size": 1152,
    "moe_intermediate_size": 704,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "head_dim": 128,
}


def plan(weights: dict[str, Any] | None, tp: int = 1, ep: bool = False, **changes: Any) -> Plan:
    config = {**SMALL_MODEL, **changes, "quantization_config": weights}
    model = read(Source("model", "config.json", config), {})
    return make(model, Serving("vllm", tp, 16, 4, expert_parallel=ep), Batches(), road="tables")


def keys(found: Plan) -> set[tuple[Any, ...]]:
    return {shape.key for shape in found.shapes}


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "Unknown quantization method: bitsandbytes"),
        ({"quant_method": "gguf"}, "Unknown quantization method: gguf"),
        ({"quant_method": "fbgemm_fp8"}, "deprecated"),
        (GPTQ | {"desc_act": True}, "activation ordering"),
        (GPTQ | {"bits": 3}, "Unsupported quantization config"),
        (GPTQ | {"sym": False}, "Unsupported quantization config"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}, "lacks sym"),
        ({"quant_method": "fp8"}, "lacks activation_scheme"),
    ],
)
def test_formats_that_the_server_refuses_are_refused(weights: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        plan(weights)


@pytest.mark.parametrize(
    "weights",
    [
        AWQ,
        GPTQ,
        GPTQ | {"desc_act": True, "group_size": -1},
        BLOCKS,
        {"quant_method": "Compressed_Tensors", "config_groups": {}},
        {"quant_method": "auto-round", "bits": 4, "group_size": 128},
    ],
)
def test_dense_layers_are_those_of_plain_weights(weights: dict[str, Any]) -> None:
    assert keys(plan(weights)) == keys(plan(None))


@pytest.mark.parametrize("weights", [AWQ, BLOCKS])
def test_a_gpu_gets_whole_groups_of_inputs(weights: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="--tp: got 4, which leaves 192 inputs of down_proj"):
        plan(weights, 4, intermediate_size=768)
    skipped = {**weights, "modules_to_not_convert": ["down_proj"]}
    assert plan(skipped, 4, intermediate_size=768).shapes
    assert plan(GPTQ, 4, intermediate_size=768).shapes


@pytest.mark.parametrize("weights", [AWQ, PACKED])
def test_inputs_are_whole_groups_on_a_single_gpu_and_of_layers_that_share_out_outputs_too(
    weights: dict[str, Any],
) -> None:
    with pytest.raises(InputError, match=r"leaves 704 inputs of down_proj .* give a model of another format"):
        plan(weights, intermediate_size=704)
    with pytest.raises(InputError, match="leaves 960 inputs of qkv_proj"):
        plan(weights, hidden_size=960, intermediate_size=512, head_dim=128)
    for format in (GPTQ, BLOCKS):
        assert plan(format, intermediate_size=704).shapes
        assert plan(format, hidden_size=960, intermediate_size=512, head_dim=128).shapes


def test_outputs_of_compressed_tensors_are_whole_blocks_but_for_the_last_on_a_single_gpu() -> None:
    with pytest.raises(InputError, match="leaves 704 outputs of gate_up_proj to each GPU, no multiple of the 128"):
        plan(SQUARE, intermediate_size=704)
    with pytest.raises(InputError, match="leaves 64 outputs of qkv_proj"):
        plan(SQUARE, 4, head_dim=64, num_key_value_heads=4, num_attention_heads=16, intermediate_size=512)
    with pytest.raises(InputError, match="leaves 704 inputs of experts"):
        plan(SQUARE, **EXPERTS)
    assert plan(SQUARE, 2, intermediate_size=512, head_dim=128).shapes
    skipped = {**SQUARE, "ignore": ["lm_head", "model.layers.0.mlp"]}
    assert plan(skipped, intermediate_size=704).shapes


def test_experts_of_blocks_are_shared_out_by_whole_blocks() -> None:
    with pytest.raises(InputError, match="which leaves 64 inputs of experts"):
        plan(BLOCKS, 4, **{**EXPERTS, "moe_intermediate_size": 256})
    assert plan(BLOCKS, 4, ep=True, **{**EXPERTS, "moe_intermediate_size": 256}).shapes


@pytest.mark.parametrize(("tp", "width"), [(1, 768), (2, 384), (4, 256)])
def test_experts_of_mxfp4_are_padded_on_each_gpu(tp: int, width: int) -> None:
    found = plan({"quant_method": "mxfp4"}, tp, **EXPERTS)
    w13, w2 = ([s.dims for s in found.shapes if s.op == f"fused_moe_lora_{name}_shrink"] for name in ("w13", "w2"))
    assert [(dims["n"], dims["i"]) for dims in (*w13, *w2)] == [(1280, width)] * 2
