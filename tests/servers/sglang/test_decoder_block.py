"""The layers of a decoder block, from whatever part of their sizes is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.contract import Call
from autotune.errors import InputError
from autotune.model import shape as models
from autotune.servers.command_line import BlockSizes, DecoderBlock
from autotune.servers.sglang.decoder_block import CsgmvLayer, find
from tests.builders.samples import BLOCK_EXPERTS, DECODER_BLOCK


def layers(block: DecoderBlock) -> list[CsgmvLayer]:
    return [layer for layer in block.layers if isinstance(layer, CsgmvLayer)]


@pytest.mark.parametrize("name", ["Qwen/Qwen3-Embedding-0.6B", "qwen3-embedding-0.6b"])
def test_a_preset_gives_the_layers_by_name_and_by_id(name: str) -> None:
    assert layers(find(BlockSizes(model=models.load(name)))) == [
        CsgmvLayer("qkv", 1024, (2048, 1024, 1024)),
        CsgmvLayer("o", 2048, (1024,)),
        CsgmvLayer("gate_up", 1024, (3072, 3072)),
        CsgmvLayer("down", 3072, (1024,)),
    ]


@pytest.mark.parametrize(
    ("experts", "mlps"),
    [
        ({"num_experts": 8, "first_k_dense_replace": 1}, {"gate_up": 3072, "down": 1024}),
        ({"num_experts": 8, "n_shared_experts": 2}, {"shared_gate_up": 1536, "shared_down": 1024}),
        ({"num_experts": 1}, {"gate_up": 3072, "down": 1024}),
        ({"num_experts": 8}, {}),
    ],
    ids=str,
)
def test_mlps_beside_the_experts(experts: dict[str, int], mlps: dict[str, int]) -> None:
    Path("config.json").write_text(json.dumps(DECODER_BLOCK | BLOCK_EXPERTS | experts))
    block = find(BlockSizes(model=models.load("config.json")))
    assert {layer.name: layer.widths[0] for layer in layers(block)[2:]} == mlps


@pytest.mark.parametrize(
    ("hidden", "total", "widths"),
    [
        pytest.param(4096, 6144, (4096, 1024, 1024), id="Qwen3-8B: q as the hidden size"),
        pytest.param(4096, 12288, (4096, 4096, 4096), id="Llama-2-7B"),
        pytest.param(1024, 4096, (2048, 1024, 1024), id="Qwen3-0.6B: half, for k is never wider than q"),
    ],
)
def test_a_sum_of_widths(hidden: int, total: int, widths: tuple[int, ...]) -> None:
    block = find(BlockSizes(hidden, (total,), intermediate=64))
    assert layers(block)[0].widths == widths
    assert f"taken to be {widths[0]} for q" in block.notes[0]


@pytest.mark.parametrize("widths", [(4097,), (8, 4, 4, 4)])
def test_widths_that_cannot_be_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="2048,1024"):
        find(BlockSizes(1024, widths))


def test_a_layer_knows_its_own_calls() -> None:
    layer = CsgmvLayer("qkv", 64, (64, 32, 32))
    shrink = Call("sglang", "shrink", {"K": 64, "R": 16, "S": 3, "chunk_size": 32})
    assert layer.size_of("shrink", shrink) == 32
    assert layer.size_of("expand", shrink) is None
    assert CsgmvLayer("o", 64, (64,)).size_of("shrink", shrink) is None
    assert layer.size_of("shrink", Call("vllm", "shrink", dict(shrink.dims))) is None
    expand = Call("sglang", "expand", {"K": 128, "R": 16, "S": 3, "chunk_size": 16})
    assert layer.size_of("expand", expand) == 16
