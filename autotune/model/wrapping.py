"""Describes what a server puts LoRA on, as far as the layers of a model depend on it."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.model.modules import modules_of


@dataclass(frozen=True)
class Wrapping:
    """The layers that a server wraps, and how it shards them.

    Attributes:
        tp: Tensor-parallel size.
        targets: The modules that alone are wrapped; None for all that the server can wrap.
        embeddings: The embeddings that are wrapped, embed_tokens and lm_head.
        head_shards: Over how many GPUs the columns of lm_head's B are split.
    """

    tp: int
    targets: tuple[str, ...] | None
    embeddings: tuple[str, ...]
    head_shards: int

    def wraps(self, layer: str) -> bool:
        """Tells whether the targets name a layer, see `autotune.model.modules`."""
        return self.targets is None or bool(set(modules_of(layer)) & set(self.targets))
