"""One of vLLM's dense ops, run by our kernel wherever that is proven, and by the server's own function elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch

from autotune.contract import Call, Config, Launch
from autotune.contract.fingerprint import file_fingerprint
from autotune.contract.gpu import INTERPRETER
from autotune.servers.plugin import warm_up
from autotune.servers.plugin.configs import TunedConfigs, Tuner
from autotune.servers.plugin.notices import warn_once
from autotune.servers.vllm import facts
from autotune.servers.vllm.plugin.drop_in import DenseCall, DenseDropIn
from autotune.servers.vllm.plugin.lookups import FolderLookup

_METADATA: Final = 7
"""Tensors of metadata that the ops take (contracts A4)."""


@dataclass(frozen=True)
class _Weights:
    """What is known of a layer's weights.

    Attributes:
        outside: What of them is outside the limits of our kernel; empty if nothing is.
        table: Their addresses on the device, where a launch needs them; kept, since graphs that are replayed read it.
    """

    outside: str
    table: torch.Tensor | None = None


class OursOrTheirs:
    """What an op runs instead of the server's own function, call by call.

    It never waits for the GPU. It takes memory for tables of addresses alone, which are uploaded when weights are seen
    first: in the server's profiling run, ahead of every graph capture.

    Args:
        own: The server's own function.
        folder: Where tuned configs are; None for defaults alone.
        kernel: The file of our kernel, whose version it tells.
    """

    def __init__(self, drop_in: DenseDropIn[Any], own: Callable[..., None], folder: Path | None, kernel: Path) -> None:
        self._drop_in = drop_in
        self._own = own
        self._folder = folder
        self._kernel = kernel
        self._weights: dict[Hashable, _Weights] = {}
        self._compiled: set[Hashable] = set()
        self._failed = ""

    def __call__(self, x: torch.Tensor, weights: list[torch.Tensor], out: torch.Tensor, *rest: Any) -> None:
        """Takes the op's arguments, in its order."""
        given = rest[_METADATA:]
        extra = (*given, *self._drop_in.extra_defaults[len(given) :])
        call = DenseCall(x, weights, out, rest[:_METADATA], extra)
        if call.no_lora or x.shape[-2] == 0:
            return
        if why := self._failed or self._run(call):
            warn_once(f"{self._drop_in.name}: calls run the server's own kernel where {why}")
            self._own(x, weights, out, *rest)

    def _run(self, call: DenseCall) -> str:
        """Runs a call on our kernel; returns why it does not, with the outputs as they were, if it does not."""
        try:
            weights = self._weights.get(call.weights_key) or self._prepared(call)
            if why := weights.outside or self._drop_in.outside(call):
                return why
            self._launch(self._drop_in.arguments(call, weights.table))
            return ""
        except Exception as error:  # whatever it is: a request is worth more than our kernel
            self._failed = f"ours failed once ({one_line(error)})"
            return self._failed

    def _prepared(self, call: DenseCall) -> _Weights:
        """Makes what weights need that are seen first; a graph that is captured by then cannot capture the upload."""
        if call.x.is_cuda and torch.cuda.is_current_stream_capturing():
            return _Weights("a CUDA graph is captured before the weights were used")
        why = self._drop_in.outside_of_weights(call) or self._drop_in.outside(call)
        if why:
            return _Weights(why)
        weights = self._weights[call.weights_key] = _Weights("", self._drop_in.table(call))
        self._compile_ahead(call, weights.table)
        return weights

    def _launch(self, arguments: Any) -> None:
        """Launches with the tuned config, or where that does not run with the default."""
        lookup = self._drop_in.lookup(arguments)
        tuned = self._tuned.find(lookup) if self._tuned else None
        if self._tuned is not None and tuned is not None:
            try:
                return self._drop_in.run(arguments, tuned)
            except Exception as error:  # whatever the compiler or the driver makes of anybody's config
                self._tuned.reject(lookup, one_line(error))
        self._drop_in.run(arguments, self._drop_in.default_config(lookup))

    def _compile_ahead(self, call: DenseCall, table: torch.Tensor | None) -> None:
        """Compiles all that the call's shape may be launched with, once."""
        if call.shape_key in self._compiled:
            return
        self._compiled.add(call.shape_key)
        lookup = self._drop_in.lookup(self._drop_in.arguments(call, table))
        counts = self._lookup.token_counts(lookup) if self._lookup else []
        warm_up.compile_ahead(lambda m: self._launches(call, m), (*warm_up.TOKEN_COUNTS, *counts))

    def _launches(self, call: DenseCall, m: int) -> list[Launch]:
        arguments = self._drop_in.arguments(call.on_meta(m), None)
        lookup = self._drop_in.lookup(arguments)
        return self._drop_in.launches(arguments, self._config(lookup))

    def _config(self, lookup: Call) -> Config:
        tuned = self._tuned.find(lookup) if self._tuned else None
        return self._drop_in.default_config(lookup) if tuned is None else tuned

    @cached_property
    def _lookup(self) -> FolderLookup | None:
        return None if self._folder is None else FolderLookup(self._folder, gpu_name())

    @cached_property
    def _tuned(self) -> TunedConfigs | None:
        """Made at the first call: the plug-in is loaded before the server chooses its GPU."""
        if self._folder is None or self._lookup is None:
            return None
        here = Tuner(gpu_name(), file_fingerprint(self._kernel))
        return TunedConfigs(self._folder, self._lookup, here, facts.DENSE_REQUIRED[self._drop_in.op])


def gpu_name() -> str:
    """Returns the name that the server's own lookup asks for (contracts A1)."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else INTERPRETER.name


def one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
