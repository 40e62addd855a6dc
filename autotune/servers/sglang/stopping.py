"""Which modules stop an SGLang server where they are named, by the model's class, and on what (contracts B4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from autotune.errors import InputError, one_of
from autotune.model.fields import language_model
from autotune.model.shape import ModelShape
from autotune.servers.serving import Serving
from autotune.servers.sglang import facts
from autotune.servers.sglang.serving import named


@dataclass(frozen=True)
class Stop:
    """What a server stops on.

    Attributes:
        error: How it does, in a few words.
        layers: The layers of ours one of which must be named, or the word for all; none where LoRA alone suffices.
        tied: Only where lm_head shares the weights of embed_tokens.
        without: A field of the config with which it does not stop.
    """

    error: str
    layers: tuple[str, ...] = ()
    tied: bool = False
    without: str = ""


_NO_CONFIG: Final = (Stop("its class keeps no config (AttributeError at start)"),)
_NO_HEADS: Final = (Stop("its config has no num_attention_heads (AttributeError at start)"),)
_NO_KV_HEADS: Final = Stop(
    "its config has no num_key_value_heads (AttributeError at start)", ("qkv_proj",), without="num_key_value_heads"
)
_OUT_PROJ: Final = Stop(
    "the server has no size for the out_proj that it finds (NotImplementedError at start)", ("all",)
)
_TIED: Final = Stop(
    "its embedding, which lm_head shares, is none that takes LoRA (AttributeError at start)", ("lm_head",), tied=True
)
_PIXTRAL: Final = Stop(
    "its tower has MLPs of other sizes, and is wrapped, too (ValueError at start)", ("gate_up_proj",)
)
_MLP: Final = facts.MLP

STOPS: Final[Mapping[str, tuple[Stop, ...]]] = {
    **dict.fromkeys(
        (
            "BertForSequenceClassification",
            "DeepseekVL2ForCausalLM",
            "GPTJForCausalLM",
            "LlamaEmbeddingModel",
            "MistralModel",
            "MllamaForConditionalGeneration",
            "MultiModalityCausalLM",
            "Phi4MMForCausalLM",
            "XLMRobertaForSequenceClassification",
            "XLMRobertaModel",
        ),
        _NO_CONFIG,
    ),
    **dict.fromkeys(("FalconMambaForCausalLM", "MambaForCausalLM"), _NO_HEADS),
    **dict.fromkeys(("Gemma3ForCausalLM", "Gemma3nForCausalLM"), (_TIED,)),
    **dict.fromkeys(("BertModel", "CLIPModel", "GPT2LMHeadModel", "PersimmonForCausalLM"), (_NO_KV_HEADS,)),
    "OPTForCausalLM": (_NO_KV_HEADS, _OUT_PROJ),
    **dict.fromkeys(("Lfm2VlForConditionalGeneration", "VoxtralForConditionalGeneration"), (_OUT_PROJ,)),
    "AfmoeForCausalLM": (Stop("the pool has other sizes than its shared experts (ValueError at start)", _MLP),),
    "BeamForCausalLM": (Stop("its class takes no LoRA (NotImplementedError at start)"),),
    "GlmAsrForConditionalGeneration": (
        Stop("the o_proj of its tower takes no LoRA (Exception at start)", ("o_proj",)),
    ),
    "HrmTextForCausalLM": (
        Stop("it has more layers than its config says (IndexError at start)", ("qkv_proj", "o_proj", *_MLP)),
    ),
    "Llama4ForConditionalGeneration": (
        Stop("its class has no size for the experts (NotImplementedError at start)", _MLP),
    ),
    "Mistral3ForConditionalGeneration": (_PIXTRAL,),
    "ZayaForCausalLM": (Stop("its config has no intermediate_size (AttributeError at start)", _MLP),),
}
"""What stops a server, for each class that has such a thing (contracts B4)."""

_LIST: Final = Stop("its config has a list in place of the experts' width (TypeError at start)", _MLP)


def check(model: ModelShape, serving: Serving) -> None:
    """Makes sure that the server starts with LoRA, and with what is named.

    Raises:
        InputError: If it does not; says on what it stops.
    """
    targets = named(serving)
    everything = bool(set(targets) & set(facts.ALL_LINEAR))
    for stop in _stops(model):
        if not stop.layers:
            raise InputError(f"{model.origin}: {model.architecture}: SGLang stops with LoRA: {stop.error}")
        found = facts.ALL_LINEAR if everything else [name for name in stop.layers if name in targets]
        if found and not (facts.ALL not in targets and stop.tied and everything):
            raise InputError(
                f"--target-modules: {one_of(found)}: SGLang stops at {model.architecture}: {stop.error}; name others"
            )


def not_planned(model: ModelShape) -> set[str]:
    """Returns the layers that no server can have wrapped."""
    return {name for stop in _stops(model) for name in stop.layers}


def notes(model: ModelShape) -> Iterator[str]:
    """Tells which modules must not be named; one line each."""
    for stop in _stops(model):
        if layers := [name for name in stop.layers if name != facts.ALL]:
            yield f"{one_of(layers)}: not planned: SGLang stops where one is named: {stop.error}"


def _stops(model: ModelShape) -> Iterator[Stop]:
    config = language_model(model.config)
    for stop in STOPS.get(model.architecture, ()):
        if (model.tied or not stop.tied) and (not stop.without or config.get(stop.without) is None):
            yield stop
    tower = model.config.get("vision_config")
    if model.architecture == "LlavaForConditionalGeneration" and isinstance(tower, Mapping):
        yield from (_PIXTRAL,) if tower.get("model_type") == "pixtral" else ()
    if model.experts is not None and isinstance(config.get("moe_intermediate_size"), list):
        yield _LIST
