"""Tells which layers of a decoder have attention, what stands in its place, a dense MLP, or experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotune.errors import InputError
from autotune.model.expert_layers import expert_layers
from autotune.model.fields import NAMES, Fields
from autotune.servers.vllm.architectures.decoders import LAYER_LISTS, Decoder, table

EVERY_LAYER = "layer"
_BLOCKS = "block_configs"
_BY_LAYER = "per_layer_config"
# Names that configs give what only a model with experts has; `top_k` is one of sampling, too.
_OF_EXPERTS = {*NAMES["num_experts_per_tok"], "moe_intermediate_size"} - {"top_k"}
_WHOLE_LAYERS = {"dense", "sparse"}
_NO_MIXERS = {"attention", "model", EVERY_LAYER, *_WHOLE_LAYERS}


def layer_kinds(decoder: Decoder, fields: Fields) -> list[frozenset[str]]:
    """Returns the kinds of each layer: of its mixers, and of its MLP.

    Raises:
        InputError: If the config lacks what places them.
    """
    count = fields["num_hidden_layers"]
    if decoder.mixers == _BLOCKS:
        return [frozenset(_block_kinds(fields, layer)) for layer in range(count)]
    mixers = _mixers(decoder, fields, count)
    if any(_WHOLE_LAYERS & set(each) for each in mixers):
        return [frozenset({EVERY_LAYER, *each}) for each in mixers]
    sparse = set(expert_layers(fields)) if _tells_experts(fields) and _has_experts(decoder) else set()
    return [
        frozenset({EVERY_LAYER, "sparse" if layer in sparse else "dense", *mixers[layer]}) for layer in range(count)
    ]


def layer_types(fields: Fields, count: int) -> Sequence[str]:
    """Returns the config's own names for the kinds of layers; empty where it has none."""
    for name in LAYER_LISTS:
        if found := fields.config.get(name):
            if not isinstance(found, list | tuple | str) or len(found) < count:
                raise InputError(
                    f"{fields.origin}: {name}: got {found!r}, allowed: one kind for each of the {count} layers; fix it"
                )
            return [str(each) for each in found[:count]]
    return ()


def types_with_sizes(decoder: Decoder, fields: Fields, count: int) -> Sequence[str]:
    """Returns the kinds of layers by which the decoder's sizes differ; empty where they do not, or the config tells the
    sizes layer by layer."""
    if not decoder.by_layer_type or fields.config.get(_BY_LAYER) is not None:
        return ()
    every = decoder.attention_interval
    types = list(layer_types(fields, count)) or [
        "full_attention" if every and (layer + 1) % every == 0 else "sliding_attention" for layer in range(count)
    ]
    return [*types[:-1], decoder.last_layer_type or types[-1]]


def unknown_types(decoder: Decoder, fields: Fields) -> list[str]:
    """Returns the kinds of layers that the config names and nothing is known of: their mixers are not planned.

    Whether such a layer has an MLP or experts goes by the config's other fields.
    """
    if not decoder.mixers or decoder.mixers in ("parallel", _BLOCKS):
        return []
    return sorted(set(layer_types(fields, fields["num_hidden_layers"])) - set(table().mixers))


def own_sizes(decoder: Decoder, fields: Fields, layer: int) -> Mapping[str, int]:
    """Returns the sizes that the config has for one layer alone."""
    if decoder.mixers == _BLOCKS:
        return _block_widths(fields, layer)
    listed = fields.config.get(_BY_LAYER)
    of_layer = (listed.get(str(layer)) or listed.get(layer)) if isinstance(listed, Mapping) else None
    sizes = of_layer.items() if isinstance(of_layer, Mapping) else ()
    return {name: value for name, value in sizes if type(value) is int and value > 0}


def _block_widths(fields: Fields, layer: int) -> dict[str, int]:
    """Returns the widths that a list of blocks has for one layer."""
    block = _block(fields, layer)
    attention, mlp = block.get("attention") or {}, block.get("ffn") or {}
    found = {}
    if group := attention.get("n_heads_in_group"):
        found["block_key_value_heads"] = fields["num_attention_heads"] // group
    if width := mlp.get("intermediate_size"):
        found["block_mlp_width"] = width
    elif factor := mlp.get("ffn_mult"):
        found["block_mlp_width"] = -(-int(2 * factor * fields["hidden_size"] / 3) // 256) * 256
    return found


def _tells_experts(fields: Fields) -> bool:
    """Tells whether there are experts: one that has some of their fields and not how many there are has them, too."""
    if fields.get("num_experts") is not None:
        return bool(fields.expert_count)
    return any(fields.config.get(name) for name in _OF_EXPERTS)


def _has_experts(decoder: Decoder) -> bool:
    return any(part.on == "sparse" for part in decoder.parts)


def _mixers(decoder: Decoder, fields: Fields, count: int) -> list[tuple[str, ...]]:
    if not decoder.mixers:
        return [("attention",)] * count
    if decoder.mixers == "parallel":
        return [("attention", "mamba")] * count
    if listed := layer_types(fields, count):
        known = table().mixers
        return [_of_decoder(known[each], decoder) if each in known else () for each in listed]
    other = _other_mixer(decoder)
    placed = _attention_layers(fields, count, decoder.attention_interval)
    return [("attention",) if layer in placed else (other,) for layer in range(count)]


def _other_mixer(decoder: Decoder) -> str:
    """Returns what stands in place of attention."""
    return next(part.on for part in decoder.parts if part.on not in _NO_MIXERS)


def _of_decoder(kinds: tuple[str, ...], decoder: Decoder) -> tuple[str, ...]:
    """Returns kinds as this decoder has them: configs may call a state-space layer linear attention."""
    own = {part.on for part in decoder.parts} | _WHOLE_LAYERS
    return tuple(kind if kind in own else _other_mixer(decoder) for kind in kinds)


def _attention_layers(fields: Fields, count: int, interval: int) -> set[int]:
    """Returns the layers with attention where no list tells them."""
    config: Mapping[str, Any] = fields.config
    if (listed := config.get("full_attn_idxs") or config.get("attn_layer_indices")) is not None:
        return set(listed)
    if period := config.get("attn_layer_period"):
        return {layer for layer in range(count) if layer % period == config.get("attn_layer_offset", 0)}
    every = config.get("full_attention_interval") or interval
    return {layer for layer in range(count) if every and (layer + 1) % every == 0}


def _block(fields: Fields, layer: int) -> Mapping[str, Any]:
    blocks = fields.config.get(_BLOCKS)
    if not isinstance(blocks, list) or len(blocks) <= layer:
        raise InputError(f"{fields.origin}: block_configs: allowed: a list of one object for each layer; fix it")
    return dict(blocks[layer])


def _block_kinds(fields: Fields, layer: int) -> set[str]:
    block, kinds = _block(fields, layer), {EVERY_LAYER}
    for part, kind in (("attention", "attention"), ("ffn", "dense")):
        of_part = block.get(part) or {}
        if not of_part.get("no_op") and not of_part.get("replace_with_linear"):
            kinds.add(kind)
    return kinds
