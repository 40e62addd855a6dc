"""Lists the projections of Nemotron-H's MLPs, which have no gate, and of its state spaces (contracts B4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from autotune.model.fields import language_model
from autotune.model.layers import Layer
from autotune.model.shape import ModelShape
from autotune.model.wrapping import Wrapping
from autotune.servers.sglang.architectures import WITHOUT_GATES

SHARED_WIDTH: Final = "moe_shared_expert_intermediate_size"
_INNER: Final = ("mamba_num_heads", "mamba_head_dim")
_KINDS: Final = {"mlp": "-", "moe": "E", "mamba": "M"}
"""What `layers_block_type` calls the kinds of layers that a pattern has letters for."""


def applies(model: ModelShape) -> bool:
    """Tells whether a model is one of these."""
    return model.architecture in WITHOUT_GATES


def layers(model: ModelShape, wrapping: Wrapping, everything: bool) -> Iterator[Layer]:
    """Yields the projections that are wrapped.

    Args:
        everything: All modules are named, also those that no name of an adapter is normalised to.
    """
    if wrapping.wraps("down_proj"):
        dense = model.intermediate or _number(_config(model).get("intermediate_size"))
        for width, count, part in ((dense, _count(model, "mlp"), ""), _shared(model)):
            if not (width and count):
                continue
            yield Layer("down_proj", "row", width // wrapping.tp, (model.hidden,), count, part)
            if everything:
                yield Layer("up_proj", "column", model.hidden, (width // wrapping.tp,), count, part)
    inner, count = _inner(model) // wrapping.tp, _count(model, "mamba")
    if everything and inner and count:
        yield Layer("in_proj", "column", model.hidden, (inner, inner), count)
        yield Layer("out_proj", "row", inner, (model.hidden,), count)


def notes(model: ModelShape) -> Iterator[str]:
    """Tells what is not planned for want of a field; one line each."""
    if _count(model, "moe") and model.experts and not _shared(model)[0]:
        yield f"down_proj of shared experts: not planned, since the config lacks {SHARED_WIDTH} or n_shared_experts"


def _shared(model: ModelShape) -> tuple[int, int, str]:
    config = _config(model)
    width, experts = (_number(config.get(name)) for name in (SHARED_WIDTH, "n_shared_experts"))
    return width * experts, _count(model, "moe"), "shared_experts"


def _inner(model: ModelShape) -> int:
    heads, width = (_number(_config(model).get(name)) for name in _INNER)
    return heads * width


def _count(model: ModelShape, kind: str) -> int:
    """Returns how many layers are of a kind; where the config does not tell, each is an MLP."""
    config = _config(model)
    if isinstance(kinds := config.get("layers_block_type"), list):
        return kinds.count(kind)
    if isinstance(pattern := config.get("hybrid_override_pattern"), str):
        return pattern.count(_KINDS[kind])
    return model.layers if kind == "mlp" else 0


def _number(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def _config(model: ModelShape) -> dict[str, Any]:
    return language_model(model.config)
