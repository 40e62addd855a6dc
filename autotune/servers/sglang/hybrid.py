"""Reads models some of whose layers have linear attention or a state space in place of attention: what is known of
what SGLang wraps of them (contracts B4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from autotune.errors import InputError, one_of
from autotune.model.families import underivable, without_other_layers
from autotune.model.fields import language_model
from autotune.model.layers import Layer, dense_layers
from autotune.model.shape import ModelShape, read
from autotune.model.sources import Source
from autotune.model.wrapping import Wrapping
from autotune.servers.sglang import facts, latent_attention, nemotron
from autotune.servers.sglang.architectures import ALL_NAMES, GATED, HYBRID

_LINEAR: Final = "linear_num_key_heads"
_OF_ATTENTION: Final = ("qkv_proj", "o_proj")


def applies(model: ModelShape) -> bool:
    """Tells whether a model is one of these."""
    return not latent_attention.applies(model) and underivable(_config(model)) is not None


def sized(model: ModelShape) -> ModelShape:
    """Returns a model with the sizes of its attention and MLPs.

    Raises:
        InputError: If these do not follow from its config.
    """
    config = without_other_layers(model.config)
    known = read(Source(model.name, model.origin, config, model.embedding_modules), model.overrides)
    if known.unknown is not None and not known.lacking:
        raise InputError(known.unknown)
    return replace(known, config=model.config)


def layers(model: ModelShape, wrapping: Wrapping, named: Sequence[str]) -> list[Layer]:
    """Returns the layers that are wrapped and known, of a model that has its sizes.

    Args:
        named: The layers that the flags name.
    """
    known, count = _planned(model), _attention_layers(model)
    found = list[Layer]()
    for layer in dense_layers(model, wrapping):
        if layer.name in _OF_ATTENTION:
            if layer.name not in known or not count:
                continue
            layer = replace(layer, count=count)
        if layer.name == "qkv_proj" and _is_gated(model):
            q, *kv = layer.widths
            layer = replace(layer, widths=(2 * q, *kv))  # the gate of each head lies beside its q
        if layer.name in facts.MLP and nemotron.applies(model):
            continue
        if layer.name in (*known, *facts.EMBEDDINGS):
            found.append(layer)
    everything = bool(set(named) & set(facts.ALL_LINEAR))
    if nemotron.applies(model):
        found += nemotron.layers(model, wrapping, everything)
    if everything and model.architecture in GATED:
        found += _linear_attention(model, wrapping.tp, model.layers - count)
    return found


def notes(model: ModelShape) -> Iterator[str]:
    """Tells what is not planned; one line each."""
    yield (
        f"{model.architecture} has {underivable(_config(model))}: the projections of such layers are not planned; "
        "plan --trace has all that a running server looks up"
    )
    if unknown := [name for name in ALL_NAMES if name not in _planned(model)]:
        why = "its class has none of the name, or not of the sizes that its config tells"
        if model.architecture in HYBRID and "qkv_proj" in unknown and _config(model).get(_LINEAR):
            why = "the pool has no place for the gate beside q, so that no adapter of q, k or v is loaded"
        yield f"{one_of(unknown)}: not planned: {why}"
    if nemotron.applies(model):
        yield from nemotron.notes(model)


def _planned(model: ModelShape) -> tuple[str, ...]:
    """Returns the layers that are known. Whether q has a gate beside it is known of the classes in the table alone."""
    usual = tuple(name for name in ALL_NAMES if name != "qkv_proj") if _config(model).get(_LINEAR) else ALL_NAMES
    return HYBRID.get(model.architecture, usual)


def _is_gated(model: ModelShape) -> bool:
    return model.architecture in GATED and _config(model).get("attn_output_gate", True) is not False


def _attention_layers(model: ModelShape) -> int:
    """Returns how many layers have attention; where the config does not tell, all that there are."""
    config = _config(model)
    for name in ("layer_types", "layers_block_type"):
        if isinstance(kinds := config.get(name), list):
            return sum(kind in facts.ATTENTION_KINDS for kind in kinds)
    if isinstance(pattern := config.get("hybrid_override_pattern"), str):
        return pattern.count("*")
    interval = config.get("full_attention_interval")
    return model.layers // interval if type(interval) is int and interval > 0 else model.layers


def _linear_attention(model: ModelShape, tp: int, count: int) -> Iterator[Layer]:
    """Yields the projections of Qwen3.5's linear attention; none whose sizes its config does not tell."""
    config = _config(model)
    names = (_LINEAR, "linear_key_head_dim", "linear_num_value_heads", "linear_value_head_dim")
    sizes = [config.get(name) for name in names]
    if count < 1 or not all(type(size) is int and size > 0 for size in sizes):
        return
    key_heads, key, value_heads, value = map(int, sizes)  # type: ignore[arg-type]
    keys, values = key_heads * key // tp, value_heads * value // tp
    yield Layer("in_proj_qkvz", "column", model.hidden, (keys, keys, values, values), count)
    yield Layer("out_proj", "row", values, (model.hidden,), count)


def _config(model: ModelShape) -> dict[str, Any]:
    return language_model(model.config)
