"""Runs one of vLLM's ops: by our kernel wherever that is proven, by the server's own function elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from autotune.contract import Call, Config, Launch
from autotune.servers import stand_back
from autotune.servers.plugin import capture, warm_up
from autotune.servers.plugin.kernel_configs import KernelConfigs
from autotune.servers.plugin.notices import one_line, warn_once
from autotune.servers.plugin.repeat import Repeats
from autotune.servers.vllm.plugin import own_tables
from autotune.servers.vllm.plugin.drop_in import DropIn, OpCall
from autotune.servers.vllm.plugin.lookups import FolderLookup


@dataclass(frozen=True)
class _Weights:
    """What is known of a layer's weights.

    Attributes:
        outside: What of them is outside the limits of our kernel; empty if nothing is.
        table: Their addresses on the device, where a launch needs them; kept, since graphs that are replayed read it.
        kind: Stands for the shape key of their calls.
    """

    outside: str
    table: Any = None
    kind: object = None

    def tensors(self, call: OpCall) -> tuple[torch.Tensor, ...]:
        """Lists what the launches of a call may take."""
        tables = self.table if isinstance(self.table, tuple) else (self.table,)
        return call.tensors + tuple(each for each in tables if each is not None)


class OursOrTheirs:
    """What an op runs instead of the server's own function, call by call.

    It takes memory for tables of addresses alone, and waits for the GPU while it uploads them, when weights are seen
    first: in the server's profiling run, ahead of every graph capture, whether an adapter is in use there or none is.

    Args:
        own: The server's own function.
        configs: The tuned ones of our kernel.
    """

    def __init__(
        self, drop_in: DropIn[Any, Any], own: Callable[..., None], configs: KernelConfigs[FolderLookup]
    ) -> None:
        self._drop_in = drop_in
        self._own = own
        self._configs = configs
        self._weights: dict[Hashable, _Weights] = {}
        self._compiled: set[Hashable] = set()
        self._repeats = Repeats()
        """By kind of weights and batch."""
        self._failed: dict[Hashable, str] = {}

    def __call__(self, *arguments: Any) -> None:
        """Takes the op's arguments, in its order."""
        call = self._drop_in.call(arguments)
        if call.idle:
            self._meet(call)
        elif self._drop_in.leaves(call):
            self._own(*arguments)
        elif why := self._run(call):
            warn_once(f"{self._drop_in.name}: calls run the server's own kernel where {why}")
            self._own(*arguments)

    def _run(self, call: Any) -> str:
        """Runs a call on our kernel; returns why it does not, with the outputs as they were, if it does not."""
        if self._failed and (why := self._failed.get(call.shape_key)):
            return why
        try:
            weights = self._weights.get(call.weights_key) or self._prepared(call)
            if weights.outside:
                return weights.outside
            kind = (weights.kind, call.batch_key)
            repeat = self._repeats.get(kind)
            if repeat is not None and repeat.run(weights.tensors(call)):
                return ""
            return self._drop_in.outside(call) or self._launch(call, weights, kind)
        except Exception as error:  # whatever it is: a request is worth more than our kernel
            return self._fail(call, error)

    def _meet(self, call: Any) -> None:
        """Prepares for weights that no request uses yet, so that the first one which does waits for no compiler."""
        if call.x.shape[-2] == 0 or call.weights_key in self._weights or call.shape_key in self._failed:
            return
        try:
            self._prepared(call)
        except Exception as error:  # as for a call that is not idle
            self._fail(call, error)

    def _fail(self, call: Any, error: Exception) -> str:
        """Leaves layers of the call's shape to the server's own kernel from now on; returns why."""
        why = self._failed[call.shape_key] = f"ours failed once ({one_line(error)})"
        return why

    def _prepared(self, call: Any) -> _Weights:
        """Makes what weights need that are seen first, and keeps what is known of them; a graph that is captured by
        then cannot capture the upload."""
        if capture.is_on(call.x):
            return _Weights("a CUDA graph is captured before the weights were used")
        if why := self._drop_in.outside_of_weights(call):
            weights = _Weights(why)
        elif why := self._drop_in.outside(call):
            return _Weights(why)  # not kept: the next call of these weights may be inside
        else:
            weights = _Weights("", self._drop_in.table(call), self._repeats.shape(call.shape_key))
            own_tables.upload(self._drop_in.name, call)
            self._compile_ahead(call)
        self._weights[call.weights_key] = weights
        return weights

    def _launch(self, call: Any, weights: _Weights, kind: Hashable) -> str:
        """Launches with the tuned config, or where that does not run with the default; returns why it does not, where
        the server's own kernel is to run."""
        arguments = self._drop_in.arguments(call, weights.table)
        lookup = self._drop_in.lookup(arguments)
        tuned = self._found(lookup, arguments)
        if lookup is not None and tuned is not None:
            if stand_back.is_one(tuned):
                return stand_back.WHY
            try:
                self._repeats.run(kind, self._drop_in.launches(arguments, tuned), weights.tensors(call))
                return ""
            except Exception as error:  # whatever the compiler or the driver makes of anybody's config
                self._configs.reject(lookup, one_line(error))
        if why := self._drop_in.without_entry(arguments):
            return why
        default = self._drop_in.default_config(arguments)
        self._repeats.run(kind, self._drop_in.launches(arguments, default), weights.tensors(call))
        return ""

    def _compile_ahead(self, call: Any) -> None:
        """Compiles all that the call's shape may be launched with, once."""
        if call.shape_key in self._compiled:
            return
        self._compiled.add(call.shape_key)
        counts = self._token_counts(call)
        warm_up.compile_ahead(lambda m: self._launches(call, m), (*warm_up.TOKEN_COUNTS, *counts))

    def _token_counts(self, call: Any) -> list[int]:
        """Lists the token counts with entries of their own; the call itself may be one that looks nothing up."""
        if self._configs.lookup is None:
            return []
        largest = self._drop_in.to_compile(call, warm_up.TOKEN_COUNTS[-1])
        lookups = (self._drop_in.lookup(self._drop_in.arguments(each, None)) for each in largest)
        found = next((each for each in lookups if each is not None), None)
        return [] if found is None else self._configs.lookup.token_counts(found)

    def _launches(self, call: Any, m: int) -> Iterator[Launch]:
        for each in self._drop_in.to_compile(call, m):
            arguments = self._drop_in.arguments(each, None)
            tuned = self._found(self._drop_in.lookup(arguments), arguments)
            if tuned is None and not self._drop_in.without_entry(arguments):
                tuned = self._drop_in.default_config(arguments)
            if tuned is not None and not stand_back.is_one(tuned):
                yield from self._drop_in.launches(arguments, tuned)

    def _found(self, lookup: Call | None, arguments: Any) -> Config | None:
        """Returns the tuned config, where there is one that these arguments can be launched with."""
        found = self._configs.find(lookup)
        return found if found is None or stand_back.is_one(found) else self._drop_in.fitted(arguments, found)
