"""Tells which layers of a model have experts; the others have a dense MLP."""

from __future__ import annotations

from collections.abc import Callable

from autotune.errors import InputError
from autotune.model.fields import Fields
from autotune.untrusted.reading import integer

_DENSE, _SPARSE = "dense", ("sparse", "moe", "hash_moe")


def expert_layers(fields: Fields) -> list[int]:
    """Returns the layers that have experts, counted from 0, of a model that has any.

    Raises:
        InputError: If a field makes no sense.
    """
    count = fields["num_hidden_layers"]
    if (kinds := fields.config.get("mlp_layer_types")) or (kinds := fields.config.get("mlp_layer_type")):
        return [layer for layer, kind in enumerate(_kinds(fields, kinds, count)) if kind in _SPARSE]
    return [layer for layer in range(count) if all(rule(fields, layer, count) for rule in _RULES)]


def _is_listed(fields: Fields, layer: int, count: int) -> bool:
    dense, listed = fields.integers("mlp_only_layers"), fields.integers("moe_layers")
    if text := fields.config.get("moe_layers_enum") or fields.config.get("moe_layer_list"):
        try:
            listed = tuple(integer(each.strip()) for each in str(text).strip("[]").split(","))
        except ValueError as error:
            raise InputError(
                f"{fields.origin}: moe_layers_enum: got {text!r}, allowed: integers with commas between; fix it"
            ) from error
    return layer not in dense and (not listed or layer in listed)


def _is_after_the_dense_ones(fields: Fields, layer: int, count: int) -> bool:
    names = ("moe_layers", "moe_layers_enum", "moe_layer_list")
    listed = next((found for name in names if (found := fields.config.get(name))), None)
    return bool(listed) or layer >= (fields.get("first_k_dense_replace") or 0)


def _is_between(fields: Fields, layer: int, count: int) -> bool:
    """Tells whether a layer is one of those that a first, a last and a distance name; lists are of text, then image."""
    first, last, every = (_first(fields, f"moe_layer_{name}") for name in ("start_index", "end_index", "interval"))
    last = count - 1 if last is None or last == -1 else last
    return (first or 0) <= layer <= last and (layer + 1) % (every or 1) == 0


def _is_each_so_many(fields: Fields, layer: int, count: int) -> bool:
    step, interleave = fields.get("decoder_sparse_step") or 1, fields.get("interleave_moe_layer_step")
    if (layer + 1) % step or interleave == 0 or (layer + 1) % (interleave or 1):
        return False
    period, offset = _first(fields, "expert_layer_period") or 1, _first(fields, "expert_layer_offset") or 0
    return layer % period == offset % period


def _is_frequent(fields: Fields, layer: int, count: int) -> bool:
    if isinstance(fields.config.get("moe_layer_freq"), list):
        flags = fields.integers("moe_layer_freq")
        if len(flags) != count or not set(flags) <= {0, 1}:
            raise InputError(
                f"{fields.origin}: moe_layer_freq: got {list(flags)}, allowed: one number, or 0 or 1 for each of the "
                f"{count} layers; fix it"
            )
        return bool(flags[layer])
    every = fields.get("moe_layer_freq")
    if every == 0:
        raise InputError(f"{fields.origin}: moe_layer_freq: got 0, allowed: 1 or more; fix it")
    return layer % (every or 1) == 0


_RULES: tuple[Callable[[Fields, int, int], bool], ...] = (
    _is_listed,
    _is_after_the_dense_ones,
    _is_between,
    _is_each_so_many,
    _is_frequent,
)


def _kinds(fields: Fields, kinds: object, count: int) -> list[str]:
    if not isinstance(kinds, list) or len(kinds) < count or not set(kinds) <= {_DENSE, *_SPARSE}:
        raise InputError(
            f"{fields.origin}: mlp_layer_types: got {kinds!r}, allowed: {_DENSE} or {_SPARSE[0]} for each of the "
            f"{count} layers; fix it"
        )
    return kinds[:count]


def _first(fields: Fields, name: str) -> int | None:
    """Returns a number, of a list (one for each modality) its first."""
    value = fields.config.get(name)
    value = value[0] if isinstance(value, list) and value else value
    if value is not None and type(value) is not int:
        raise InputError(f"{fields.origin}: {name}: got {value!r}, allowed: an integer; fix it")
    return value
