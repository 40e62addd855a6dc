"""Tells what quantised weights change: what vLLM refuses of them, and how much larger it makes experts (contracts
A18)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from autotune.errors import InputError
from autotune.model.weights_format import WeightsFormat, weights_format
from autotune.servers.serving import Serving
from autotune.servers.vllm.architectures.decoders import Module
from autotune.servers.vllm.architectures.sizes import LayerSizes

_GPTQ = "gptq"
_GPTQ_BITS = (4, 8)
_A_GROUP_A_COLUMN = -1


class Quantised:
    """The weights of one model, quantised or not."""

    def __init__(self, config: Mapping[str, Any], origin: str, serving: Serving) -> None:
        self._format = weights_format(config, origin)
        self._origin = origin
        self._serving = serving

    def check_format(self) -> None:
        """Makes sure that the server has the format.

        Raises:
            InputError: If it refuses it.
        """
        if (found := self._format) is None:
            return
        known = _table()
        if found.method in known["deprecated"]:
            raise self._refused(f"quant_method {found.method}", "The quantization method is deprecated")
        if found.method not in (*known["methods"], *known["other_names"]):
            raise self._refused(f"quant_method {found.method}", f"Unknown quantization method: {found.method}")
        for names in known["needed"].get(found.method, ()):
            if not any(name in found.config for name in names):
                raise self._refused(f"lacks {' or '.join(names)}", f"Cannot find any of {names}")
        if found.method == _GPTQ:
            self._check_gptq(found)

    def check_share(self, module: Module, sizes: LayerSizes) -> None:
        """Makes sure that each GPU's share of a layer, or of experts, is of whole groups with a scale of their own.

        Raises:
            InputError: If it is not.
        """
        found, share = self._format, self._share(module, sizes)
        if found is None or not found.group or share is None or not found.has(module.name):
            return
        says = "experts_of_whole_groups" if module.kind == "experts" else "layers_of_whole_groups"
        said = _table()[says].get(found.method)
        if said is not None and share % found.group:
            raise InputError(
                f"--tp: got {self._serving.tp}, which leaves {share} inputs of {module.name} to each GPU, no multiple "
                f"of the {found.group} that share a scale in {self._origin} (vLLM: {said}); give a smaller one"
            )

    def padded(self, hidden: int, width: int) -> tuple[int, int]:
        """Returns the hidden size and the width that the server makes of an expert's on one GPU."""
        method = self._format.method if self._format else ""
        steps = _table()["padded"].get(method, {"hidden": 1, "width": 1})
        return _up(hidden, steps["hidden"]), _up(width, steps["width"])

    def _share(self, module: Module, sizes: LayerSizes) -> int | None:
        """Returns how many inputs of what is shared out by inputs a GPU has; of experts the second layer is."""
        serving = self._serving
        if module.kind == "experts":
            return sizes(module.outputs[0]) // (1 if serving.experts_spread else serving.expert_gpus)
        shared = module.kind == "row" and not module.whole and serving.tp > 1
        return sizes(module.inputs) // serving.tp if shared else None

    def _check_gptq(self, found: WeightsFormat) -> None:
        bits, symmetric = found.config["bits"], found.config["sym"]
        if found.config.get("desc_act") and found.config.get("group_size") != _A_GROUP_A_COLUMN:
            raise self._refused("desc_act true", "GPTQ group activation ordering is no longer supported")
        if bits not in _GPTQ_BITS or not symmetric:
            raise self._refused(f"bits {bits}, sym {symmetric}", "Unsupported quantization config")

    def _refused(self, got: str, said: str) -> InputError:
        return InputError(
            f"{self._origin}: quantization_config: {got}: vLLM refuses it ({said}); give a model of another format"
        )


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


@cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads(Path(__file__).with_name("quantised.toml").read_text(encoding="utf-8"))
