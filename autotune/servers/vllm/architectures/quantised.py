"""Tells what quantised weights change: what vLLM refuses of them, and how much larger it makes experts (contracts
A18)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
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
_SHARED_OUT = ("qkv", "merged", "column", "row")


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

    def check_share(self, module: Module, names: Sequence[str], sizes: LayerSizes) -> None:
        """Makes sure that each GPU's share of a layer, or of experts, is of whole groups with a scale of their own.

        Args:
            names: Of the modules that are merged into it.

        Raises:
            InputError: If it is not.
        """
        found = self._format
        if found is None or not found.group or not found.has(module.name, *names):
            return
        rules, method = _table(), found.method
        if found.columns and (said := rules["outputs_of_whole_blocks"].get(method)) is not None:
            for share in self._outputs(module, sizes):
                if share % found.columns:
                    raise self._uneven(share, "outputs", module, found.columns, said)
        says = "experts_of_whole_groups" if module.kind == "experts" else "layers_of_whole_groups"
        inputs, said = self._inputs(module, sizes, bool(found.columns)), rules[says].get(method)
        if inputs is not None and said is not None and inputs % found.group:
            raise self._uneven(inputs, "inputs", module, found.group, said)

    def padded(self, hidden: int, width: int) -> tuple[int, int]:
        """Returns the hidden size and the width that the server makes of an expert's on one GPU."""
        method = self._format.method if self._format else ""
        steps = _table()["padded"].get(method, {"hidden": 1, "width": 1})
        return _up(hidden, steps["hidden"]), _up(width, steps["width"])

    def _inputs(self, module: Module, sizes: LayerSizes, shared_alone: bool) -> int | None:
        """Returns how many inputs of a layer a GPU has, of experts those of the second one; None for other modules.

        Args:
            shared_alone: Of layers, those alone count whose inputs are shared out.
        """
        serving = self._serving
        if module.kind == "experts":
            return sizes(module.outputs[0]) // (1 if serving.experts_spread else serving.expert_gpus)
        if module.kind == "row" and not module.whole and serving.tp > 1:
            return sizes(module.inputs) // serving.tp
        return None if shared_alone or module.kind not in _SHARED_OUT else sizes(module.inputs)

    def _outputs(self, module: Module, sizes: LayerSizes) -> list[int]:
        """Returns a GPU's shares of the outputs that must be whole blocks: the last of what is not shared out need not
        be."""
        gpus = 1 if module.whole else self._serving.tp
        match module.kind:
            case "qkv":
                heads, kv_heads, head_dim = map(sizes, module.outputs)
                shares = [heads // gpus * head_dim, max(1, kv_heads // gpus) * head_dim]
            case "merged":
                shares = [width // gpus for width in map(sizes, module.outputs)][: None if gpus > 1 else -1]
            case "column" if gpus > 1:
                shares = [sizes(module.outputs[0]) // gpus]
            case _:
                shares = []
        return shares

    def _uneven(self, share: int, sides: str, module: Module, group: int, said: str) -> InputError:
        tp = self._serving.tp
        remedy = "give a smaller one" if tp > 1 else "give a model of another format"
        return InputError(
            f"--tp: got {tp}, which leaves {share} {sides} of {module.name} to each GPU, no multiple of the {group} "
            f"that share a scale in {self._origin} (vLLM: {said}); {remedy}"
        )

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
