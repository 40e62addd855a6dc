"""Reads the format that a model's weights are stored in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune.errors import InputError
from autotune.model.fields import language_model
from autotune.untrusted.printing import shortened

FORMAT_FIELDS = ("quantization_config", "compression_config")
"""Where configs tell the format; the first that is there counts."""

_MLP = ("gate_up_proj", "gate_proj", "up_proj", "down_proj", "fc1", "fc2", "w1", "w2", "w3", "c_fc", "c_proj")
_ATTENTION = ("qkv_proj", "q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "in_proj", "dense", "c_attn", "Wqkv")
_INSIDE = {
    **dict.fromkeys(("mlp", "feed_forward", "shared_expert", "shared_experts"), _MLP),
    **dict.fromkeys(("self_attn", "attn", "attention", "linear_attn", "mixer"), _ATTENTION),
}
"""What stands in modules that such lists name as a whole."""

_GROUPS = ("group_size", "q_group_size")
_SKIPPED = ("modules_to_not_convert", "ignore", "exclude_modules", "exclude", "ignored_layers")


@dataclass(frozen=True)
class WeightsFormat:
    """A format of quantised weights.

    Attributes:
        method: Its name, as the config has it, in lower case.
        config: All that the config says of it.
        group: So many inputs of a layer share a scale; 0 where there is no such number.
        columns: So many outputs share one, too; 0 where there is no such number.
        skipped: Names, or paths, of modules that have another format.
    """

    method: str
    config: Mapping[str, Any]
    group: int
    columns: int
    skipped: tuple[str, ...]

    def has(self, *names: str) -> bool:
        """Tells whether a module's weights have the format, as far as its names, or what it stands in, tell."""
        words = [re.findall(r"\w+", path) for path in self.skipped]
        inside = {name for path in words for name in _INSIDE.get(path[-1] if path else "", ())}
        return not {*names} & {*inside, *(word for path in words for word in path)}


def weights_format(config: Mapping[str, Any], origin: str) -> WeightsFormat | None:
    """Returns the format; None for weights of plain numbers.

    Raises:
        InputError: If what the config says of it is no object with a method.
    """
    found = next((part for each in (config, language_model(config)) if (part := _stated(each)) is not None), None)
    if not found:
        return None
    if not isinstance(found, Mapping):
        raise InputError(
            f"{origin}: quantization_config: got {shortened(found)}, allowed: an object with a quant_method; mend it"
        )
    method = found.get("quant_method")
    if not isinstance(method, str) or not method:
        return None
    columns, group = _block(found)
    return WeightsFormat(method.lower().replace("_tensors", "-tensors"), found, group, columns, tuple(_skipped(found)))


def _stated(config: Mapping[str, Any]) -> object:
    return next((config[name] for name in FORMAT_FIELDS if config.get(name) is not None), None)


def _block(found: Mapping[str, Any]) -> tuple[int, int]:
    """Returns how many outputs, and how many inputs, share a scale."""
    for block in (found.get("weight_block_size"), *(part.get("block_structure") for part in _parts(found))):
        match block:
            case [int(columns), int(group)] if columns > 0 and group > 0:
                return columns, group
    return 0, next((size for size in _sizes(found) if type(size) is int and size > 0), 0)


def _sizes(found: Mapping[str, Any]) -> list[object]:
    return [part.get(name) for part in (found, *_parts(found)) for name in _GROUPS]


def _parts(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns what is said of the weights of each group of layers."""
    groups = found.get("config_groups")
    each = groups.values() if isinstance(groups, Mapping) else ()
    said = [part.get("weights") for part in each if isinstance(part, Mapping)]
    return [part for part in said if isinstance(part, Mapping)]


def _skipped(found: Mapping[str, Any]) -> list[str]:
    listed: list[Any] = next((found[name] for name in _SKIPPED if isinstance(found.get(name), list)), [])
    return [each for each in listed if isinstance(each, str)]
