"""Makes the server's linear layers call ops of ours (contracts A15).

``torch.compile`` traces what calls them. So each is one op of a name of its own, and the key of the server's compile
caches learns of them: graphs with the ops and without lie apart, whichever way a server is started next.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import torch

from autotune.servers.plugin.notices import one_line
from autotune.servers.source_check import function_hash
from autotune.servers.vllm import layer_classes
from autotune.servers.vllm.plugin import linear_ops
from autotune.servers.vllm.plugin.linear import PairOrApart
from autotune.servers.vllm.plugin.shrink_beside import ShrinkBeside, SideStream, empty_buffer, is_gain
from autotune.servers.vllm.plugin.state import PAIR
from autotune.servers.vllm.plugin.tracing import traced

_KEY: Final = "LORA_AUTOTUNE_LINEAR"
"""What the compile cache's factors have the ops under; no variable of this name is read."""

_WRAPPER: Final = "vllm.lora.punica_wrapper.punica_gpu.PunicaWrapperGPU"
"""The server's own wrapper (contracts A15)."""

_LAYERS: Final = "vllm.lora.layers"

_OURS: Final = "autotune.servers.vllm.plugin.punica.PairingPunicaWrapper"

_Method = Callable[[Any, torch.Tensor, torch.Tensor | None], torch.Tensor]


def install(pair: PairOrApart) -> str:
    """Makes the server's linear layers call the ops, once; returns why they do not, if they do not.

    Args:
        pair: What the one op does.
    """
    if linear_ops.are_defined():
        return ""
    platform: Any = type(importlib.import_module("vllm.platforms").current_platform)
    if (found := platform.get_punica_wrapper()) != _WRAPPER:
        return f"the server's wrapper is {found}, known is {_WRAPPER}"
    base = _known_base()
    if why := _tell_compile_cache(PAIR if base is None else f"{PAIR}, {linear_ops.BEGIN}"):
        return why
    at_once = traced(PAIR, pair)
    linear_ops.define(PAIR, at_once, lambda *_: None)
    if base is not None:
        beside = ShrinkBeside(at_once, SideStream())
        linear_ops.define(linear_ops.BEGIN, beside.begin, empty_buffer)
        linear_ops.define(linear_ops.END, beside.end, lambda *_: None)
        _call_two_ops(base)
    _join_merged_layers()
    platform.get_punica_wrapper = classmethod(lambda cls: _OURS)
    return ""


def _tell_compile_cache(ops: str) -> str:
    """Makes the ops part of the compile caches' key; returns why they are not, if they are not."""
    envs: Any = importlib.import_module("vllm.envs")
    try:
        envs.environment_variables[_KEY] = lambda: ops
        if envs.compile_factors()[_KEY] == ops:
            return ""
    except (AttributeError, KeyError, TypeError) as error:
        return f"the compile cache's key cannot tell graphs with it from others ({one_line(error)})"
    return "the compile cache's key cannot tell graphs with it from others"


def _join_merged_layers() -> None:
    """Makes layers of several slices call one op, too, where a release has them call shrink and expand on their own.

    Of the known releases 0.23.0 has, whether they are sharded or not (contracts A15).
    """
    with suppress(ImportError, AttributeError):
        layers: Any = importlib.import_module(f"{_LAYERS}.column_parallel_linear")
        base = _base()
        apart = layers._mcp_apply
        layers._mcp_apply = lambda x, bias, layer: (
            apart(x, bias, layer)
            if layer.tp_size > 1 or layer.lora_config.fully_sharded_loras
            else base.apply(layer, x, bias)
        )


def _base() -> Any:
    return getattr(importlib.import_module(layer_classes.MODULE), layer_classes.BASE)


def _known_base() -> Any:
    """Returns the base class of linear layers; None where it is not as known: there LoRA follows the base's product."""
    try:
        importlib.import_module(_LAYERS)
        base = _base()
        known = layer_classes.are_known(lambda name: function_hash(getattr(base, name)))
    except Exception:  # of whatever kind: nobody knows such a class
        return None
    return base if known else None


def _call_two_ops(base: Any) -> None:
    """Makes layers call one op ahead of the base's product and one after it, except those that do more than add to its
    output, whether their classes are there already or made later, as another plug-in's may be."""
    own = getattr(base, layer_classes.APPLY)

    def made_later(cls: Any, /, **options: Any) -> None:
        super(base, cls).__init_subclass__(**options)
        _keep_order(cls, own)

    for layer in _subclasses(base):
        _keep_order(layer, own)
    setattr(base, layer_classes.APPLY, _with_two_ops(own))
    base.__init_subclass__ = classmethod(made_later)


def _keep_order(layer: Any, own: _Method) -> None:
    """Gives a class that does more to the output the base's own method back, unless it has one itself."""
    if layer_classes.AFTER in vars(layer) and layer_classes.APPLY not in vars(layer):
        setattr(layer, layer_classes.APPLY, own)


def _subclasses(cls: Any) -> Iterator[Any]:
    for each in cls.__subclasses__():
        yield each
        yield from _subclasses(each)


def _with_two_ops(own: _Method) -> _Method:
    """Returns what takes the place of a layer's method, which it runs where one op does all."""

    def apply_sync(self: Any, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        wrapper = self.punica_wrapper
        # One op is less work for the CPU than two. What is compiled calls two, for it may be captured.
        if not hasattr(wrapper, "begin_lora_linear") or not (torch.compiler.is_compiling() or is_gain(x)):
            return own(self, x, bias)
        rows = x.flatten(0, -2) if x.ndim > 2 else x
        shrunk = wrapper.begin_lora_linear(rows, self.lora_a_stacked)
        output: torch.Tensor = self.base_layer.quant_method.apply(self.base_layer, x, bias)
        flat = output.flatten(0, -2) if output.ndim > 2 else output
        wrapper.end_lora_linear(shrunk, flat, rows, self.lora_a_stacked, self.lora_b_stacked)
        return flat.reshape(output.shape)

    return apply_sync
