"""Tells which modules the server wraps: all that take LoRA, or those of --lora-target-modules (contracts A5)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from autotune.servers.vllm.architectures.decoders import Module

_EMBEDDINGS = ("embedding", "head")
_EXPERTS = "experts"


class Targets:
    """The server's --lora-target-modules.

    A name fits a module of that name, one into which a module of that name is merged, and one that is merged into a
    module of that name. Embeddings are wrapped where they are named, or, without names, where a class lists them; a
    classifier always is.
    """

    def __init__(
        self, names: Sequence[str] | None, packed: Mapping[str, Sequence[str]], embeddings: Collection[str]
    ) -> None:
        self._names = names
        self._packed = packed
        self._embeddings = embeddings
        self._met: set[str] = set()
        self._there: dict[str, None] = {}

    @property
    def unmatched(self) -> tuple[str, ...]:
        """The names that fitted none of the modules asked about."""
        return tuple(name for name in self._names or () if name not in self._met)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that fit one of the modules asked about."""
        return tuple(self._there)

    @property
    def experts(self) -> bool:
        """Experts are wrapped, where there are any."""
        return self._names is None or _EXPERTS in self._names

    def wrap(self, module: Module) -> bool:
        """Tells whether a module is wrapped."""
        if self._names is None:
            return not module.named and (module.kind not in _EMBEDDINGS or module.name in self._embeddings)
        parents = [parent for parent, parts in self._packed.items() if module.name in parts]
        names = (module.name, *self._packed.get(module.name, ()), *parents)
        self._there |= dict.fromkeys(names)
        fitting = set(names) & set(self._names)
        self._met |= fitting
        return bool(fitting) or module.kind == "classifier"
