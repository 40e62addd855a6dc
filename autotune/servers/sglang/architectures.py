"""Which modules SGLang's classes have under the names that it puts LoRA on (contracts B4): facts of 0.5.23, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

ALL_NAMES: Final = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
"""The layers of ours that a decoder has."""


@dataclass(frozen=True)
class LatentAttention:
    """The latent attention of a class.

    Attributes:
        fused: The projections to the latent of q and of kv are one module; else they are two, which are not wrapped.
        others: Some layers have linear attention in its place, with projections of their own.
        kv_b: The projection out of the latent of kv is a module once the weights are loaded.
        a_layer: How many a layer has.
    """

    fused: bool = True
    kv_b: bool = True
    a_layer: int = 1
    others: bool = False


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
    **dict.fromkeys(
        (
            "BailingMoeV2_5ForCausalLM",
            "BailingMoeV3ForCausalLM",
            "GigaChat35ForCausalLM",
            "Glm5NextForConditionalGeneration",
            "KimiK3ForConditionalGeneration",
            "KimiK3LinearForCausalLM",
            "KimiLinearForCausalLM",
        ),
        LatentAttention(others=True),
    ),
    "Dots3NoteForCausalLM": LatentAttention(fused=False),
    "LongcatFlashForCausalLM": LatentAttention(a_layer=2),
    "MiniCPM3ForCausalLM": LatentAttention(fused=False, kv_b=False),
    "SarvamMLAForCausalLM": LatentAttention(fused=False),
}
"""The classes with multi-head latent attention that are known (contracts B4)."""

UNKNOWN_LATENT: Final = LatentAttention()
"""What another class is taken for: the wrappers of multimodal models have DeepSeek's attention inside."""

GATED: Final = ("Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration")
"""Classes whose q is twice as wide, for its gate, and whose pool knows it (contracts B4)."""

_NO_QKV: Final = ("o_proj", "gate_up_proj", "down_proj")

HYBRID: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("FalconH1ForCausalLM", *GATED), ALL_NAMES),
    **dict.fromkeys(("Qwen3NextForCausalLM", "Qwen3_5ForCausalLM", "Qwen3_5MoeForCausalLM"), _NO_QKV),
    "GraniteMoeHybridForCausalLM": ("qkv_proj", "o_proj"),
    **dict.fromkeys(("NemotronHForCausalLM", "NemotronHPuzzleForCausalLM"), ("qkv_proj", "o_proj", "down_proj")),
}
"""Classes with linear attention or state spaces: which of our layers their configs tell (contracts B4)."""

WITHOUT_GATES: Final = ("NemotronHForCausalLM", "NemotronHPuzzleForCausalLM")
"""Those of them whose MLPs have no gate (contracts B4)."""

STOPPED_BY_ALL: Final = (
    "FalconH1ForCausalLM",
    "GigaChat35ForCausalLM",
    "GraniteMoeHybridForCausalLM",
    "Lfm2ForCausalLM",
    "Lfm2MoeForCausalLM",
    "Qwen3NextForCausalLM",
    "Qwen3_5ForCausalLM",
    "Qwen3_5MoeForCausalLM",
)
"""Classes with modules that ``all`` finds and the server has no sizes of (contracts B6)."""

INDEXED: Final = (
    "DeepseekV3ForCausalLM",
    "DeepseekV32ForCausalLM",
    "Glm5NextForConditionalGeneration",
    "GlmMoeDsaForCausalLM",
    "HYV4ForCausalLM",
    "LongcatFlashForCausalLM",
)
"""Those of them that have an indexer where their config has an `index_topk` (contracts B4)."""

INTERLEAVED: Final = frozenset({"HYV4ForCausalLM"})
"""Those whose indexer's rope is interleaved whatever their config.json says (contracts B4)."""

_BOTH_EMBEDDINGS: Final = ("embed_tokens", "lm_head")

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
    **dict.fromkeys(
        ("BertModel", "CLIPModel", "ChatGLMModel", "Contriever", "GPT2LMHeadModel", "GPTBigCodeForCausalLM"),
        (*ALL_NAMES, *_BOTH_EMBEDDINGS),
    ),
    "PersimmonForCausalLM": ALL_NAMES,
    "QWenLMHeadModel": (*ALL_NAMES, "embed_tokens"),
    **dict.fromkeys(("GPTJForCausalLM", "OPTForCausalLM", "PhiForCausalLM"), ("o_proj", "gate_up_proj", "down_proj")),
    **dict.fromkeys(
        ("InternLM2ForCausalLM", "InternLM2ForRewardModel"),
        ("qkv_proj", "o_proj", "down_proj", *_BOTH_EMBEDDINGS),
    ),
    **dict.fromkeys(
        (
            "CohereForCausalLM",
            "Cohere2ForCausalLM",
            "Cohere2MoeForCausalLM",
            "Cohere2VisionForConditionalGeneration",
            "EmbeddingGemma2Model",
            "EmbeddingGemmaModel",
            "GemmaForCausalLM",
            "Gemma2ForCausalLM",
            "Gemma2ForSequenceClassification",
            "Lfm2BidirectionalModel",
            "LlamaForClassification",
            "LlamaForSequenceClassification",
            "LlamaForSequenceClassificationWithNormal_Weights",
            "NanbeigeForSequenceClassification",
            "Qwen2ForRewardModel",
            "Qwen2ForSequenceClassification",
            "Qwen3ForRewardModel",
            "Qwen3ForSequenceClassification",
            "Qwen3Model",
        ),
        ("lm_head",),
    ),
    **dict.fromkeys(
        (
            "Gemma3ForCausalLM",
            "Gemma3ForConditionalGeneration",
            "Gemma3nForCausalLM",
            "Gemma3nForConditionalGeneration",
        ),
        ("embed_tokens",),
    ),
    "Cosmos3EdgeForConditionalGeneration": ("gate_up_proj",),
    "ExaoneForCausalLM": ("o_proj", "down_proj"),
    **dict.fromkeys(("Lfm2ForCausalLM", "Lfm2VlForConditionalGeneration"), ("o_proj", "gate_up_proj", "down_proj")),
    "Lfm2MoeForCausalLM": ("o_proj",),
    "Phi3SmallForCausalLM": ("qkv_proj", "o_proj", "gate_up_proj"),
    "Starcoder2ForCausalLM": ("gate_up_proj", "down_proj"),
    "ZayaForCausalLM": ("qkv_proj",),
}
"""Classes whose modules have other names, or that have no head of their own: which of ours they lack (contracts B4)."""

HEAD_THOUGH_TIED: Final = frozenset(
    """
    AfmoeForCausalLM ArceeForCausalLM Ernie4_5_ForCausalLM Ernie4_5_MoeForCausalLM FalconMambaForCausalLM
    Glm4MoeForCausalLM GptOssForCausalLM GraniteForCausalLM GraniteMoeForCausalLM HunYuanDenseV1ForCausalLM
    KimiLinearForCausalLM LagunaForCausalLM Lfm2ForCausalLM Lfm2VlForConditionalGeneration MambaForCausalLM
    MellumForCausalLM MiniMaxM2ForCausalLM MixtralForCausalLM OlmoeForCausalLM OrionForCausalLM
    PhiMoEForCausalLM Qwen2MoeForCausalLM Qwen3MoeForCausalLM Qwen3NextForCausalLM StableLmForCausalLM
    ZayaForCausalLM
    """.split()
)
"""Classes whose lm_head is a module of its own, whatever the config says of sharing weights (contracts B4)."""

HEAD_IF_UNTIED: Final = frozenset(
    """
    BailingMM2NativeForConditionalGeneration BailingMMNativeForConditionalGeneration
    BailingMoeV3VLForConditionalGeneration DeepseekOCRForCausalLM DotsVLMForCausalLM
    Gemma3ForConditionalGeneration GlmAsrForConditionalGeneration InternS1ForConditionalGeneration
    InternVLChatModel JetVLMForConditionalGeneration KimiVLForConditionalGeneration
    LightOnOCRForConditionalGeneration LlavaForConditionalGeneration LlavaLlamaForCausalLM
    LlavaMistralForCausalLM LlavaQwenForCausalLM LlavaVidForCausalLM LocateAnythingForConditionalGeneration
    MiDashengLMModel MiniCPM3ForCausalLM MiniCPMForCausalLM MiniCPMO MiniCPMSALAForCausalLM MiniCPMV
    MiniCPMV4_6ForConditionalGeneration MiniCPMV4_7ForConditionalGeneration Mistral3ForConditionalGeneration
    MossVLForConditionalGeneration NVILAForConditionalGeneration NVILALiteForConditionalGeneration
    POINTSV15ChatModel PixtralForConditionalGeneration Qwen2AudioForConditionalGeneration
    Qwen3ASRForConditionalGeneration Qwen3OmniMoeForConditionalGeneration Sarashina2VisionForCausalLM
    Step3p7ForConditionalGeneration StepVLForConditionalGeneration UnlimitedOCRForCausalLM
    VoxtralForConditionalGeneration YiVLForCausalLM
    """.split()
)
"""Classes of whose lm_head the server finds nothing where it shares the weights of embed_tokens (contracts B4)."""

TIED_UNSAID: Final = frozenset(
    """
    Cohere2ForCausalLM Cohere2MoeForCausalLM Cohere2VisionForConditionalGeneration CohereForCausalLM
    Ernie4_5_ForCausalLM Ernie4_5_MoeForCausalLM Ernie4_5_VLMoeForConditionalGeneration FalconMambaForCausalLM
    GPT2LMHeadModel GPTBigCodeForCausalLM Gemma2ForCausalLM Gemma3ForCausalLM Gemma3ForConditionalGeneration
    Gemma3nForCausalLM Gemma3nForConditionalGeneration Gemma4ForCausalLM Gemma4ForConditionalGeneration
    GemmaForCausalLM GraniteSWAForCausalLM Lfm2ForCausalLM Lfm2MoeForCausalLM Lfm2VlForConditionalGeneration
    MambaForCausalLM MiniCPM3ForCausalLM OPTForCausalLM PaddleOCRVLForConditionalGeneration
    Qwen3ASRForConditionalGeneration Qwen3VLMoeForConditionalGeneration SmolLM3ForCausalLM Starcoder2ForCausalLM
    ZayaForCausalLM
    """.split()
)
"""Classes whose configuration class has lm_head share the weights of embed_tokens where a config is silent (contracts
B4)."""

NO_PLACE_FOR_MLPS: Final = (
    "BailingMoEForCausalLM",
    "BailingMoeForCausalLM",
    "BailingMoeV2ForCausalLM",
    "BailingMoeV2_5ForCausalLM",
    "BailingMoeV3ForCausalLM",
    "Ernie4_5_MoeForCausalLM",
    "HYV3ForCausalLM",
    "KimiK3LinearForCausalLM",
    "KimiLinearForCausalLM",
    "Lfm2MoeForCausalLM",
    "Llama4ForCausalLM",
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
    "SDARMoeForCausalLM",
)
"""Classes that have experts in each layer, whatever their config says (contracts B4)."""
