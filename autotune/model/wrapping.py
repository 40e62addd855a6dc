"""What a server puts LoRA on, as far as the layers of a model depend on it."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.model.modules import modules_of


@dataclass(frozen=True)
class Wrapping:
    """The layers that a server wraps, and how it shards them.

    Attributes:
        tp: Tensor-parallel size.
        whole_experts: Experts are shared out as they are, none is sharded.
        targets: The modules that alone are wrapped; None for all that the server can wrap.
        packs: A packed qkv or gate_up has one LoRA for all of it; else it has one for each part, as any other.
        routers: Routers of experts are wrapped.
        embeddings: The embeddings that are wrapped, embed_tokens and lm_head.
        head_shards: Over how many GPUs the columns of lm_head's B are split.
    """

    tp: int
    whole_experts: bool
    targets: tuple[str, ...] | None
    packs: bool
    routers: bool
    embeddings: tuple[str, ...]
    head_shards: int

    def wraps(self, layer: str) -> bool:
        """Tells whether the targets name a layer, see `autotune.model.modules`."""
        return self.targets is None or bool(set(modules_of(layer)) & set(self.targets))
