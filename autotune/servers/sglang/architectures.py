"""Which modules SGLang's classes have under the names that it puts LoRA on (contracts B4): facts of 0.5.23, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_ALL: Final = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")


@dataclass(frozen=True)
class LatentAttention:
    """The latent attention of a class.

    Attributes:
        fused: The projections to the latent of q and of kv are one module; else they are two, which are not wrapped.
        kv_b: The projection out of the latent of kv is a module once the weights are loaded.
        a_layer: How many a layer has.
    """

    fused: bool = True
    kv_b: bool = True
    a_layer: int = 1


LATENT: Final[Mapping[str, LatentAttention]] = {
    **dict.fromkeys(
        (
            "DeepseekV2ForCausalLM",
            "DeepseekV3ForCausalLM",
            "DeepseekV32ForCausalLM",
            "Glm4MoeLiteForCausalLM",
            "GlmMoeDsaForCausalLM",
            "HYV4ForCausalLM",
        ),
        LatentAttention(),
    ),
    "LongcatFlashForCausalLM": LatentAttention(a_layer=2),
    "MiniCPM3ForCausalLM": LatentAttention(fused=False, kv_b=False),
    "SarvamMLAForCausalLM": LatentAttention(fused=False),
}
"""The classes with multi-head latent attention that are known (contracts B4)."""

INDEXED: Final = (
    "DeepseekV3ForCausalLM",
    "DeepseekV32ForCausalLM",
    "GlmMoeDsaForCausalLM",
    "HYV4ForCausalLM",
    "LongcatFlashForCausalLM",
)
"""Those of them that have an indexer where their config has an `index_topk` (contracts B4)."""

INTERLEAVED: Final = frozenset({"HYV4ForCausalLM"})
"""Those whose indexer's rope is interleaved whatever their config.json says (contracts B4)."""

WITHOUT: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("ApertusForCausalLM", "ArceeForCausalLM"), ("gate_up_proj",)),
    **dict.fromkeys(("BaichuanForCausalLM", "HrmTextForCausalLM"), ("qkv_proj",)),
    **dict.fromkeys(
        (
            "BailingMoEForCausalLM",
            "BailingMoeForCausalLM",
            "BailingMoeV2ForCausalLM",
            "LLaDA2MoeModelLM",
            "SarvamMoEForCausalLM",
            "Spark2_5ForCausalLM",
        ),
        ("qkv_proj", "o_proj"),
    ),
    **dict.fromkeys(("ChatGLMModel", "GPT2LMHeadModel", "GPTBigCodeForCausalLM", "PersimmonForCausalLM"), _ALL),
    **dict.fromkeys(("GPTJForCausalLM", "OPTForCausalLM", "PhiForCausalLM"), ("o_proj", "gate_up_proj", "down_proj")),
    **dict.fromkeys(("InternLM2ForCausalLM", "QWenLMHeadModel"), ("qkv_proj", "o_proj", "down_proj")),
    **dict.fromkeys(
        (
            "CohereForCausalLM",
            "Cohere2ForCausalLM",
            "GemmaForCausalLM",
            "Gemma3ForConditionalGeneration",
            "LlamaForSequenceClassification",
            "Qwen2ForRewardModel",
            "Qwen2ForSequenceClassification",
        ),
        ("lm_head",),
    ),
    "ExaoneForCausalLM": ("o_proj", "down_proj"),
    "Phi3SmallForCausalLM": ("qkv_proj", "o_proj", "gate_up_proj"),
    "Starcoder2ForCausalLM": ("gate_up_proj", "down_proj"),
}
"""Classes whose modules have other names, or that have no head of their own: which of ours they lack (contracts B4)."""

NO_PLACE_FOR_MLPS: Final = (
    "BailingMoEForCausalLM",
    "BailingMoeForCausalLM",
    "BailingMoeV2ForCausalLM",
    "Ernie4_5_MoeForCausalLM",
    "HYV3ForCausalLM",
    "LongcatFlashForCausalLM",
    "SarvamMLAForCausalLM",
    "SarvamMoEForCausalLM",
)
"""Classes whose configs spell shared experts otherwise than the server's pool, so that it has no place for MLPs beside
the experts unless they have its fields, too (contracts B4)."""

ALL_SPARSE: Final = (
    "InternS1ProForConditionalGeneration",
    "Qwen2MoeForCausalLM",
    "Qwen3MoeForCausalLM",
    "Qwen3VLMoeForConditionalGeneration",
)
"""Classes that have experts in each layer, whatever their config says (contracts B4)."""
