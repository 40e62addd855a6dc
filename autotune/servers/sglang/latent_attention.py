"""Reads models with multi-head latent attention: their sizes, and which projections SGLang wraps (contracts B4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from autotune.errors import InputError
from autotune.model.expert_layers import expert_layers
from autotune.model.fields import Fields, LackingFieldsError, language_model
from autotune.model.layers import Layer, dense_layers
from autotune.model.shape import Experts, ModelShape, stand_ins
from autotune.model.wrapping import Wrapping
from autotune.servers.sglang import delta_attention, indexer
from autotune.servers.sglang.architectures import LATENT, UNKNOWN_LATENT, LatentAttention

FUSED: Final = "fused_qkv_a_proj_with_mqa"
_WIDTH: Final = "moe_intermediate_size"
_FOLLOW: Final = {
    "num_attention_heads": "num_key_value_heads",
    _WIDTH: "shared_expert_intermediate_size",
}
"""Sizes that others follow from: there are as many kv heads as heads, and shared experts are as wide as so many."""

_ROPE: Final = "qk_rope_head_dim"
"""Heads may have nothing that is rotated."""

_FIELDS: Final = ("kv_lora_rank", "qk_nope_head_dim", _ROPE, "v_head_dim")


def applies(model: ModelShape) -> bool:
    """Tells whether a model is one of these: by the size of its latent, or by a class all of whose attention is so."""
    always = model.architecture in LATENT and not _kind(model).others
    return always or bool(_fields(model).config.get("kv_lora_rank"))


def sized(model: ModelShape) -> ModelShape:
    """Returns a model with its sizes; those of a head are what o_proj takes of one. What its config lacks is its
    `lacking`, with numbers in their place.

    Raises:
        InputError: If a field makes no sense, or without what it lacks no layer is known.
    """
    found = _fields(model)
    lacking = (*_lacking(found), *indexer.lacking(model))
    if "hidden_size" in lacking:
        raise LackingFieldsError(model.origin, lacking)
    fields = Fields(found.origin, {**found.config, **_numbers(lacking)})
    experts, layers = _experts(fields), fields["num_hidden_layers"]
    heads, a_layer = fields["num_attention_heads"], _kind(model).a_layer
    return replace(
        model,
        hidden=fields["hidden_size"],
        heads=heads,
        kv_heads=heads,
        head_dim=fields["v_head_dim"],
        intermediate=fields["intermediate_size"],
        vocab=fields["vocab_size"],
        layers=layers * a_layer,
        # One with two attentions a layer has two dense MLPs beside the experts.
        dense_layers=layers * a_layer if a_layer > 1 else layers - (experts.layers if experts else 0),
        tied=bool(fields.config.get("tie_word_embeddings")),
        experts=experts,
        unknown=str(LackingFieldsError(model.origin, lacking)) if lacking else None,
        lacking=lacking,
        stand_ins=(*lacking, *(follows for name, follows in _FOLLOW.items() if name in lacking)),
    )


def check(model: ModelShape, named: Sequence[str]) -> None:
    """Makes sure that the server has sizes for the projections that are named.

    Raises:
        InputError: If it stops at start, since it has none.
    """
    if "q_b_proj" in named and not _fields(model).get("q_lora_rank"):
        raise InputError(
            "--target-modules: q_b_proj: without a q_lora_rank SGLang has no size for it (TypeError at start); leave "
            "it out"
        )


def layers(model: ModelShape, wrapping: Wrapping, named: Sequence[str]) -> list[Layer]:
    """Returns the layers that are wrapped, of a model that has its sizes.

    Args:
        named: The layers that the flags name.
    """
    others = [layer for layer in dense_layers(model, wrapping) if layer.name != "qkv_proj"]
    own = [layer for layer in _projections(model, wrapping.tp) if wrapping.wraps(layer.name)]
    linear = delta_attention.layers(model, wrapping.tp) if wrapping.wraps("qkv_proj") else ()
    return [*own, *linear, *indexer.layers(model, named), *others]


def notes(model: ModelShape) -> Iterator[str]:
    """Tells what to mind of a model's lookups; one line each."""
    kind, latent_q = _kind(model), _fields(model).get("q_lora_rank")
    if model.architecture not in LATENT:
        yield (
            f"{model.architecture} is not known here: its latent attention is taken for DeepSeek's; compare with plan "
            "--trace"
        )
    yield from delta_attention.notes(model)
    if kind.others:
        yield (
            f"{model.architecture}: some layers have linear attention; their own projections are not planned; plan "
            "--trace has all that a running server looks up"
        )
    if kind.kv_b:
        yield (
            "kv_b_proj: its lookups are those of prefill whose attention is not absorbed; elsewhere it runs kernels "
            "that read no file"
        )
    else:
        yield "kv_b_proj: SGLang's class takes it apart once weights are loaded; it is not wrapped"
    if not latent_q:
        yield "q_proj, kv_a_proj_with_mqa: without a q_lora_rank SGLang wraps neither; nothing is planned for them"
    elif not kind.fused:
        yield "q_a_proj, kv_a_proj_with_mqa: SGLang's class does not merge them and wraps neither; they are not planned"
    if indexer.applies(model):
        yield from indexer.notes(model)


def _projections(model: ModelShape, tp: int) -> Iterator[Layer]:
    found, kind = _fields(model), _kind(model)
    fields = Fields(found.origin, {**found.config, **_numbers(model.lacking)})
    latent, rope = fields["kv_lora_rank"], fields[_ROPE]
    if q := fields.get("q_lora_rank"):
        if kind.fused:
            yield Layer(FUSED, "replicated", model.hidden, (q, latent + rope), model.layers)
        yield Layer("q_b_proj", "column", q, (model.heads * (fields["qk_nope_head_dim"] + rope) // tp,), model.layers)
    if kind.kv_b:
        width = model.heads * (fields["qk_nope_head_dim"] + fields["v_head_dim"]) // tp
        yield Layer("kv_b_proj", "column", latent, (width,), model.layers)


def _numbers(lacking: Sequence[str]) -> dict[str, int]:
    """Returns what stands in place of the fields that a config lacks. Without a latent q there is none."""
    return stand_ins([name for name in lacking if name != "q_lora_rank"])


def _lacking(fields: Fields) -> tuple[str, ...]:
    """Returns the fields that a config of such a model lacks."""
    needed = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "intermediate_size", *_FIELDS)
    lacking = tuple(name for name in needed if not fields.get(name) and not (name == _ROPE and fields.get(name) == 0))
    return lacking if _knows_experts(fields) else (*lacking, _WIDTH)


def _knows_experts(fields: Fields) -> bool:
    """Tells whether the width of the experts is known, if there are any. Other models take that of dense MLPs for it,
    but no shared experts of these classes have it."""
    if not fields.expert_count:
        return True
    return bool(fields.config.get(_WIDTH) if fields.get("n_shared_experts") else fields.get(_WIDTH))


def _kind(model: ModelShape) -> LatentAttention:
    return LATENT.get(model.architecture, UNKNOWN_LATENT)


def _fields(model: ModelShape) -> Fields:
    return Fields(model.origin, {**language_model(model.config), **model.overrides})


def _experts(fields: Fields) -> Experts | None:
    found = len(expert_layers(fields)) if fields.expert_count else 0
    if not found:
        return None
    width = fields[_WIDTH]
    return Experts(
        count=fields.expert_count,
        top_k=fields.get("num_experts_per_tok") or 1,  # no lookup depends on it
        intermediate=width,
        shared=(fields.get("n_shared_experts") or 0) * width,
        layers=found,
        fused=False,
    )
