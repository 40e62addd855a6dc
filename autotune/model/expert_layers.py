"""Tells which layers of a model have experts; the others have a dense MLP."""

from __future__ import annotations

from autotune.errors import InputError
from autotune.model.fields import Fields

# Fields by which further families place their experts, and the values with which these do not matter.
_UNREAD: dict[str, tuple[object, ...]] = {
    "moe_layer_start_index": (0,),
    "moe_layer_end_index": (-1,),
    "moe_layer_interval": (1,),
    "moe_layers_enum": ("",),
    "expert_interval": (1,),
    "expert_layer_period": (1,),
    "expert_layer_offset": (0,),
    "mlp_layer_types": ([],),
    "num_dense_layers": (0,),
}


def expert_layers(fields: Fields) -> list[int]:
    """Returns the layers that have experts, counted from 0, of a model that has any.

    Raises:
        InputError: If a field says so that is not read here, or one makes no sense.
    """
    for name, neutral in _UNREAD.items():
        if (value := fields.config.get(name)) is not None and value not in neutral:
            raise InputError(
                f"{fields.origin}: {name}: got {value!r}, which places the experts in a way that is not read here; "
                "create studies of single shapes (study create --op-type ...) from what the server logs"
            )
    count = fields["num_hidden_layers"]
    dense, listed = fields.integers("mlp_only_layers"), fields.integers("moe_layers")
    first, step = fields.get("first_k_dense_replace") or 0, fields.get("decoder_sparse_step") or 1
    sparse = set(listed or range(first, count)) - set(dense)
    return [i for i in range(count) if i in sparse and (i + 1) % step == 0 and _is_placed(fields, i, count)]


def _is_placed(fields: Fields, layer: int, count: int) -> bool:
    """Tells whether the fields that count layers say that this one has experts."""
    if isinstance(fields.config.get("moe_layer_freq"), list):
        flags = fields.integers("moe_layer_freq")
        if len(flags) != count or not set(flags) <= {0, 1}:
            raise InputError(
                f"{fields.origin}: moe_layer_freq: got {list(flags)}, allowed: one number, or 0 or 1 for each of the "
                f"{count} layers; mend it"
            )
        return bool(flags[layer])
    every = fields.get("moe_layer_freq")
    interleave = fields.get("interleave_moe_layer_step")
    if every == 0:
        raise InputError(f"{fields.origin}: moe_layer_freq: got 0, allowed: 1 or more; mend it")
    return layer % (every or 1) == 0 and interleave != 0 and (layer + 1) % (interleave or 1) == 0
