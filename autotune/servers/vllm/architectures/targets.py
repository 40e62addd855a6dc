"""Tells which modules the server wraps: all that take LoRA, or those of --lora-target-modules (contracts A5)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from autotune.servers.vllm.architectures.decoders import Module

_EMBEDDINGS = ("embedding", "head")
_EXPERTS = "experts"

# The path of a module in one layer, such as `model.layers.0.mlp.shared_experts.down_proj`.
_PATH = re.compile(
    r"(?P<model>\w+)\.(?:\w+\.)*(?:layers|h|blocks)\.(?P<layer>\d+)\.(?P<parents>(?:\w+\.)*)(?P<name>\w+)"
)
_INNER_MODEL = "language_model"
"""Where classes with towers keep their language model."""


class Targets:
    """The server's --lora-target-modules.

    A name fits a module of that name, one into which a module of that name is merged, and one that is merged into a
    module of that name. A whole path fits that module of one layer alone. Embeddings are wrapped where they are named,
    or, without names, where a class lists them; a classifier always is.
    """

    def __init__(
        self,
        names: Sequence[str] | None,
        packed: Mapping[str, Sequence[str]],
        embeddings: Collection[str],
        multimodal: bool = False,
    ) -> None:
        self._names = names
        self._packed = packed
        self._embeddings = embeddings
        self._multimodal = multimodal
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

    def wrap(self, module: Module, layer: int | None = None, part: str = "", through: str = "") -> bool:
        """Tells whether a module is wrapped, and called so.

        Args:
            layer: The layer that it stands in; None for one that a model has once.
            part: The part of the layer that it stands in, where that has a name.
            through: What calls it by a path of its own, where something does.
        """
        if self._names is None:
            return not module.named and (module.kind not in _EMBEDDINGS or module.name in self._embeddings)
        parents = [parent for parent, parts in self._packed.items() if module.name in parts]
        names = (module.name, *self._packed.get(module.name, ()), *parents)
        self._there |= dict.fromkeys(names)
        paths = {path for path in self._names if through in path and self._is_path_of(path, module.name, layer, part)}
        fitting = set(names) & set(self._names) | paths
        self._met |= fitting
        return bool(fitting) or module.kind == "classifier"

    def _is_path_of(self, path: str, name: str, layer: int | None, part: str) -> bool:
        found = _PATH.fullmatch(path)
        if found is None or layer is None or (int(found["layer"]), found["name"]) != (layer, name):
            return False
        inside = (found["model"] == _INNER_MODEL) == self._multimodal
        return inside and (part in found["parents"] if part else "shared" not in found["parents"])
