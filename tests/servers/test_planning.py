"""What each server accepts and wraps."""

from __future__ import annotations

from typing import Any

import pytest

from autotune import servers
from autotune.errors import InputError
from autotune.model import shape
from autotune.model.shape import ModelShape
from autotune.model.sources import Source
from autotune.plan.plan import make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from tests.builders.samples import EXPERT_FIELDS, SMALL_MODEL

SERVING: dict[str, Any] = {"server": "vllm", "tp": 1, "rank": 16, "max_loras": 4}
MOE = {"architectures": ["Qwen3MoeForCausalLM"], **EXPERT_FIELDS}


def model(**changes: Any) -> ModelShape:
    return shape.read(Source("model", "config.json", SMALL_MODEL | changes), {})


@pytest.mark.parametrize(
    ("how", "changes", "parts"),
    [
        ({"tp": 3}, {}, ["--tp: got 3", "num_attention_heads 16"]),
        ({"tp": 16}, {"intermediate_size": 4088}, ["--tp: got 16", "gate_up_proj 4088"]),
        ({"tp": 4}, {"num_key_value_heads": 6}, ["--tp: got 4", "num_key_value_heads 6"]),
        ({"tp": 16}, {"num_key_value_heads": 3}, ["--tp: got 16", "no multiple", "num_key_value_heads 3"]),
        ({"rank": 24}, {}, ["--lora-rank: got 24", "16, 32", "padded"]),
        ({"rank": 8, "tp": 16, "fully_sharded": True}, {}, ["--fully-sharded", "8", "16"]),
        ({"tp": 2, "fully_sharded": True, "dual_stream": True}, {}, ["--dual-stream", "--fully-sharded-loras"]),
        ({"expert_parallel": True}, {}, ["--ep", "no experts"]),
        (
            {"tp": 2, "expert_parallel": True, "fully_sharded": True},
            MOE,
            ["--fully-sharded", "--enable-expert-parallel"],
        ),
        ({"server": "sglang", "fully_sharded": True}, {}, ["--fully-sharded", "SGLang"]),
        ({"server": "sglang", "dual_stream": True}, {}, ["--dual-stream", "SGLang"]),
        ({"target_modules": ("q_prol",)}, {}, ["--target-modules", "q_prol", "q_proj"]),
        ({"target_modules": ("experts",)}, {}, ["--target-modules", "experts", "none of which"]),
        ({"max_loras": 0}, {}, ["max_loras", "0"]),
    ],
)
def test_a_server_that_cannot_be_is_refused(how: dict[str, Any], changes: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        make(model(**changes), Serving(**SERVING | how), Batches())
    assert not [part for part in parts if part not in str(caught.value)], caught.value


def layers(server: str, targets: tuple[str, ...] | None = None, **changes: Any) -> dict[str, set[tuple[int, ...]]]:
    """The sizes looked up for each layer."""
    serving = Serving(server, 2, 16, 4, target_modules=targets)
    found: dict[str, set[tuple[int, ...]]] = {}
    for each in servers.get(server).planner.shapes(model(**changes), serving, Batches()):
        for layer in each.layers:
            found.setdefault(layer, set()).add(
                tuple(each.dims[d] for d in ("num_slices", "S", "k", "K", "n") if d in each.dims)
            )
    return found


def test_embeddings_are_the_models_for_vllm_and_the_targets_for_sglang() -> None:
    assert {"embed_tokens", "lm_head"} <= set(layers("vllm"))
    assert not {"embed_tokens", "lm_head"} & set(layers("vllm", architectures=["MistralForCausalLM"]))
    assert not {"embed_tokens", "lm_head"} & set(layers("sglang"))
    assert layers("sglang", ("lm_head",)) == {"lm_head": {(1, 1024), (1, 16000)}}
    assert layers("vllm", ("lm_head",)) == {"lm_head": {(1, 1024, 16), (1, 16, 32000)}}


def test_a_packed_qkv_is_one_slice_to_vllm_alone() -> None:
    packed: dict[str, Any] = {"architectures": ["Phi3ForCausalLM"]}
    assert {slices for slices, *_ in layers("vllm", **packed)["qkv_proj x4"]} == {1}
    assert {slices for slices, *_ in layers("sglang", **packed)["qkv_proj x4"]} == {3}


def test_routers_take_lora_on_vllm_alone() -> None:
    assert "gate x4" in layers("vllm", **EXPERT_FIELDS, architectures=["MixtralForCausalLM"])
    assert "gate x4" not in layers("sglang", **EXPERT_FIELDS)


@pytest.mark.parametrize(("server", "largest", "rank"), [("vllm", 9, 16), ("vllm", 257, 320), ("sglang", 9, 9)])
def test_the_pool_holds_the_largest_rank(server: str, largest: int, rank: int) -> None:
    assert servers.get(server).planner.pool_rank(largest) == rank


def test_a_rank_beyond_what_vllm_takes() -> None:
    with pytest.raises(InputError, match="--lora-path: got an adapter of rank 513, allowed: up to 512"):
        servers.get("vllm").planner.pool_rank(513)
