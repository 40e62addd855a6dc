"""Knows the configuration classes that vLLM reads configs with: their defaults, and what they refuse (contracts A9)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from autotune.errors import InputError
from autotune.model.fields import NAMES
from autotune.servers.vllm.architectures.decoders import LAYER_LISTS
from autotune.untrusted.printing import shortened

_NUMBERS = ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size")
_ROPES, _THETA = ("rope_parameters", "rope_scaling"), "rope_theta"
_EXPERT_WIDTH = "moe_intermediate_size"
"""Where a class has it, the width of dense layers is no other name of it."""

_THETA_BY_LAYER_TYPE = ("gemma4", "gemma4_text")

_REFUSED = {"null": "not_null", "list": "not_lists", "no boolean": "booleans"}
"""The table's key for fields that may be nothing of this kind."""

_FILE = Path(__file__).parent / "config_defaults.json"


def with_defaults(text: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields with the defaults of the configuration class for those that are there under no name."""
    defaults = defaults_of(text.get("model_type")).get("defaults", {})
    found = dict(text)
    for name, value in defaults.items():
        others = (name,) if name == _EXPERT_WIDTH else next((each for each in NAMES.values() if name in each), (name,))
        # Another name of the same size counts, unless it is a size of its own here, as `intermediate_size` may be.
        if not any(other in text and (other == name or other not in defaults) for other in others):
            found[name] = value
    layers = next((found[name] for name in (*LAYER_LISTS, "mlp_layer_types") if found.get(name)), ())
    if layers and not any(found.get(name) for name in NAMES["num_hidden_layers"]):
        found["num_hidden_layers"] = len(layers)
    return found


def check_class(part: Mapping[str, Any], model_type: object, origin: str) -> None:
    """Makes sure that the configuration class of a model type takes a config, or a part of one.

    Raises:
        InputError: If it refuses a field that is null, missing, a list, or no boolean, kinds of another number of
            layers, or heads that do not divide the width.
    """
    row = _classes().get(model_type if isinstance(model_type, str) else "", {})
    for kind in _REFUSED:
        for name in row.get(_REFUSED[kind], ()):
            if name in part and _is(kind, part[name]):
                raise InputError(
                    f"{origin}: {name}: got {shortened(part[name])}, which the configuration class of {model_type} "
                    f"refuses (vLLM: Validation error for field '{name}'); fix it, or leave it out for the class's "
                    "default"
                )
    for name in row.get("needed", ()):
        if part.get(name) is None:
            raise InputError(
                f"{origin}: lacks {name}, for which the configuration class of {model_type} has no default that vLLM "
                "takes; add it to the config"
            )
    found = {**row.get("defaults", {}), **part}
    if row.get("counts_layers"):
        _check_layers(found, model_type, origin)
    if row.get("even_heads"):
        _check_heads(found, model_type, origin)


def check_numbers(part: Mapping[str, Any], origin: str) -> None:
    """Makes sure that no number is null that vLLM reads of each language model, whatever its configuration class.

    Raises:
        InputError: If one is.
    """
    for name in _NUMBERS:
        if name in part and part[name] is None:
            raise InputError(
                f"{origin}: {name}: got null, and vLLM stops where it reads it as a number; correct it, or leave it "
                "out for the class's default"
            )
    elsewhere = part.get("model_type") in _THETA_BY_LAYER_TYPE or any(part.get(name) for name in _ROPES)
    if part.get(_THETA, 0) is None and not elsewhere:
        raise InputError(
            f"{origin}: {_THETA}: got null, and vLLM stops where it raises it to a power (vLLM: unsupported operand "
            "type(s) for **: 'NoneType'); correct it, or leave it out for the class's default"
        )


def _check_layers(found: Mapping[str, Any], model_type: object, origin: str) -> None:
    count = found.get("num_hidden_layers")
    for name in ("layer_types", "mlp_layer_types"):
        kinds = found.get(name)
        if not isinstance(kinds, list) or type(count) is not int:
            return
        if len(kinds) != count:
            raise InputError(
                f"{origin}: {name}: got {len(kinds)} kinds of layers for num_hidden_layers {count}, which the "
                f"configuration class of {model_type} refuses (vLLM: num_hidden_layers ({count}) must be equal to the "
                f"number of {name} ({len(kinds)})); correct the config"
            )


def _check_heads(found: Mapping[str, Any], model_type: object, origin: str) -> None:
    hidden, heads = found.get("hidden_size"), found.get("num_attention_heads")
    if type(hidden) is int and type(heads) is int and heads and hidden % heads:
        raise InputError(
            f"{origin}: hidden_size {hidden}: no multiple of num_attention_heads {heads}, which the configuration "
            f"class of {model_type} refuses (vLLM: The hidden size ({hidden}) is not a multiple of the number of "
            f"attention heads ({heads})); correct the config"
        )


def _is(kind: str, value: object) -> bool:
    match kind:
        case "null":
            return value is None
        case "list":
            return isinstance(value, list)
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def own_architectures() -> set[str]:
    """Returns the architectures of language models that Transformers has."""
    return {str(row["architecture"]) for row in _classes().values() if row["architecture"]}


@cache
def all_classes() -> frozenset[str]:
    """Returns the names of all classes of models that Transformers has."""
    return frozenset(json.loads(_FILE.read_text(encoding="utf-8"))["classes"])


def defaults_of(model_type: object) -> dict[str, Any]:
    """Returns what is known of the class of a model type; nothing of a type that is not known."""
    row = _classes().get(model_type if isinstance(model_type, str) else "")
    return dict(row) if row else {}


@cache
def _classes() -> Mapping[str, Mapping[str, Any]]:
    return dict(json.loads(_FILE.read_text(encoding="utf-8"))["model_types"])
