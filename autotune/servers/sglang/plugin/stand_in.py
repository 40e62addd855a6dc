"""Runs one of SGLang's csgmv ops: by our kernel wherever that is proven, by the server's own function elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import torch

from autotune.contract import Config, Launch
from autotune.servers import stand_back
from autotune.servers.plugin import capture, warm_up
from autotune.servers.plugin.kernel_configs import KernelConfigs
from autotune.servers.plugin.notices import one_line, warn_once
from autotune.servers.plugin.repeat import Repeats
from autotune.servers.sglang import chunks
from autotune.servers.sglang.plugin.drop_in import CsgmvCall, CsgmvDropIn


class StandIn:
    """What an op runs in the place of the server's own function, call by call.

    It never waits for the GPU, and takes memory for an output, where the server's own function takes it too, and for
    sums that our kernel makes on the way.

    Args:
        own: The server's own function.
        configs: The tuned ones of our kernel.
    """

    def __init__(
        self, drop_in: CsgmvDropIn[Any], own: Callable[..., torch.Tensor], configs: KernelConfigs[Any]
    ) -> None:
        self._drop_in = drop_in
        self._own = own
        self._configs = configs
        self._compiled: set[Hashable] = set()
        self._repeats = Repeats()
        self._failed: dict[Hashable, str] = {}

    def __call__(self, call: CsgmvCall | None, chunk_limit: int, own_arguments: Mapping[str, Any]) -> torch.Tensor:
        """Does a call's work.

        Args:
            call: The call as ours take it; None where that cannot be told without waiting for the GPU.
            chunk_limit: The server's ``--max-lora-chunk-size``.
            own_arguments: What the server's own function takes.
        """
        done = self._done(call, chunk_limit)
        if isinstance(done, torch.Tensor):
            return done
        warn_once(f"{self._drop_in.name}: calls run the server's own kernel where {done}")
        return self._own(**own_arguments)

    def _done(self, call: CsgmvCall | None, chunk_limit: int) -> torch.Tensor | str:
        """Runs a call on our kernel; returns why it does not, with the outputs as they were, if it does not."""
        if call is None:
            return "slices' widths are on the GPU alone"
        if self._failed and (why := self._failed.get(call.shape_key)):
            return why
        try:
            workspace = self._drop_in.workspace(call)
            kind = (call.shape_key, call.batch_key, len(workspace))
            if (repeat := self._repeats.get(kind)) is not None:
                out = self._drop_in.output(call)
                if repeat.run((*call.tensors, *workspace, out)):
                    return out
            if why := self._drop_in.outside(call):
                return why
            self._compile_ahead(call, chunk_limit)
            return self._launched(call, workspace, kind)
        except Exception as error:  # whatever it is: a request is worth more than our kernel
            why = self._failed[call.shape_key] = f"ours failed once ({one_line(error)})"
            return why

    def _launched(self, call: CsgmvCall, workspace: Sequence[torch.Tensor], kind: Hashable) -> torch.Tensor | str:
        """Launches with the tuned config, or where that does not run with the default; returns why it does not, where
        the server's own kernel is to run."""
        tuned = self._found(call)
        if tuned is not None and stand_back.is_one(tuned):
            return stand_back.WHY
        out = self._drop_in.output(call)
        arguments, tensors = self._drop_in.arguments(call, out, workspace), (*call.tensors, *workspace, out)
        if tuned is not None:
            try:
                self._repeats.run(kind, self._drop_in.launches(arguments, tuned), tensors)
                return out
            except Exception as error:  # whatever the compiler or the driver makes of anybody's config
                self._configs.reject(self._drop_in.lookup(call), one_line(error))
        self._repeats.run(kind, self._drop_in.launches(arguments, self._drop_in.default_config(call)), tensors)
        return out

    def _compile_ahead(self, call: CsgmvCall, chunk_limit: int) -> None:
        """Compiles all that the call's shape may be launched with, once: for batches of any size whose segments are
        full, or hold a token each, and for graphs of both."""
        if call.shape_key not in self._compiled and not capture.is_on(call.x):
            self._compiled.add(call.shape_key)
            sizes = chunks.reachable(chunk_limit)
            warm_up.compile_ahead(lambda tokens: self._launches(call, tokens, sizes), warm_up.TOKEN_COUNTS)

    def _launches(self, call: CsgmvCall, tokens: int, sizes: tuple[int, ...]) -> Iterator[Launch]:
        for chunk_size in sizes:
            for segments, check_ranks in product((-(-tokens // chunk_size), tokens), (False, True)):
                other = call.on_meta(tokens, segments, chunk_size, check_ranks)
                found = self._found(other)
                if found is not None and stand_back.is_one(found):
                    continue
                config = self._drop_in.default_config(other) if found is None else found
                out, workspace = self._drop_in.output(other), self._drop_in.workspace(other)
                yield from self._drop_in.launches(self._drop_in.arguments(other, out, workspace), config)

    def _found(self, call: CsgmvCall) -> Config | None:
        return self._configs.find(self._drop_in.lookup(call), call.workload)
