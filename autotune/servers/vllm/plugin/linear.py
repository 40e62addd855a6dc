"""Runs shrink and expand of a linear layer as one op, where that wins (contracts A15)."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Sequence
from typing import Any

import torch

from autotune.contract import Config, Launch
from autotune.servers.plugin import capture, warm_up
from autotune.servers.plugin.kernel_configs import KernelConfigs
from autotune.servers.plugin.notices import one_line, warn_once
from autotune.servers.vllm import linear
from autotune.servers.vllm.plugin import metadata, override
from autotune.servers.vllm.plugin.lookups import FolderLookup
from autotune.servers.vllm.plugin.shrink_beside import empty_buffer
from autotune.servers.vllm.plugin.state import PAIR


class PairOrApart:
    """What the op does, call by call: our pair for few tokens, unless an entry says otherwise; for more the server's
    two ops, whoever runs them.

    The first call of a layer's weights prepares the pair and runs the two ops, so that these meet the weights as well:
    in the server's profiling run, ahead of every graph capture, whether an adapter is in use there or none is. It takes
    memory for tables of addresses and a workspace, and waits for the GPU while it uploads the tables. Launches share
    the workspace, so they must follow each other, as a server's do.

    Args:
        drop_in: Our kernel's part of this: its module ``drop_in``, which imports this package.
        configs: The tuned ones of the pair.
    """

    def __init__(self, drop_in: Any, configs: KernelConfigs[FolderLookup]) -> None:
        self._drop_in = drop_in
        self._configs = configs
        self._tables: dict[Hashable, Any] = {}
        self._workspaces: dict[Hashable, Any] = {}
        self._failed: set[Hashable] = set()
        self._most_tokens: dict[Hashable, int] = {}
        """How many a pair may have, by where the weights lie that are prepared."""

    def __call__(
        self, y: torch.Tensor, x: torch.Tensor, a: list[torch.Tensor], b: list[torch.Tensor], *rest: Any
    ) -> None:
        """Takes the op's arguments, in its order."""
        tokens, (scale, add_inputs) = rest[: metadata.COUNT], rest[metadata.COUNT :]
        if x.shape[0] > self._most_tokens.get(_place(a, b), sys.maxsize):
            if tokens[metadata.NO_LORA].item():
                return
        else:
            call = self._drop_in.LinearCall.of(y, x, a, b, tokens, (scale, add_inputs))
            if x.shape[0] == 0 or (call.shrink.no_lora and self._has_met(call)) or self._paired(call):
                return
        buffer = empty_buffer(x, a)
        override.call("lora_shrink", x, a, buffer, *tokens, scale)
        override.call("lora_expand", buffer, b, y, *tokens, 0, add_inputs)

    def _has_met(self, call: Any) -> bool:
        """Tells whether a call's weights are prepared, or cannot be now."""
        return call.weights_key in self._tables or capture.is_on(call.shrink.x)

    def _paired(self, call: Any) -> bool:
        """Runs a call by our pair, if it is to be and can be."""
        if self._failed and call.shape_key in self._failed:
            return False
        key = call.weights_key
        try:
            if why := self._drop_in.outside(call) or self._too_late(call):
                _tell_apart(why)
                return False
            if key not in self._tables:
                self._prepare(call)
                return False
            config = self._config(call)
        except Exception as error:  # out of memory, or whatever a file leads to
            self._fail(call, one_line(error))
            return False
        if config is None:
            return False
        try:
            arguments = self._drop_in.arguments(call, self._tables[key], self._workspaces[call.shape_key])
            for launch in self._drop_in.launches(arguments, config):
                launch.run()
        except Exception as error:  # whatever the compiler or the driver makes of anybody's config
            self._reject(call, one_line(error))
            return False
        return True

    def _config(self, call: Any) -> Config | None:
        """Returns what the pair is launched with; None where shrink and expand run apart."""
        lookup = self._drop_in.lookup(call)
        if (tuned := self._configs.find(lookup)) is not None:
            return None if linear.is_apart(tuned) else tuned
        default: Config | None = self._drop_in.default_config(lookup)
        return default

    def _reject(self, call: Any, why: str) -> None:
        """Leaves what does not run out from now on: the entry, or without one the pair of the call's shape."""
        lookup = self._drop_in.lookup(call)
        if self._configs.find(lookup) is not None:
            self._configs.reject(lookup, why)
        else:
            self._fail(call, why)

    def _fail(self, call: Any, why: str) -> None:
        """Leaves the pair out from now on, for layers of the call's shape."""
        self._failed.add(call.shape_key)
        _tell_apart(f"the pair failed once ({why})")

    def _too_late(self, call: Any) -> str:
        """Tells whether weights are seen first while a graph is captured, which cannot capture an upload."""
        if call.weights_key in self._tables or not capture.is_on(call.shrink.x):
            return ""
        return "a CUDA graph is captured before the weights were used"

    def _prepare(self, call: Any) -> None:
        """Uploads tables, and for a new shape makes a workspace and compiles all that its entries launch."""
        self._tables[call.weights_key] = self._drop_in.tables(call)
        look_up = self._configs.lookup
        entries = [] if look_up is None else look_up.token_counts(self._drop_in.lookup(call))
        counts = (*(each for each in warm_up.TOKEN_COUNTS if each <= linear.MOST_TOKENS), *entries)
        self._most_tokens[_place(call.shrink.weights, call.expand.weights)] = max(counts)
        if call.shape_key in self._workspaces:
            return
        self._workspaces[call.shape_key] = self._drop_in.workspace(call, max(counts), call.shrink.x.device)
        warm_up.compile_ahead(lambda m: self._launches(call, m), counts)

    def _launches(self, call: Any, m: int) -> list[Launch]:
        empty = call.on_meta(m)
        if (config := self._config(empty)) is None:
            return []
        workspace = self._drop_in.workspace(empty, m, "meta")
        found: list[Launch] = self._drop_in.launches(self._drop_in.arguments(empty, (None, None), workspace), config)
        return found


def _place(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> Hashable:
    """Tells where weights lie, and their sizes, for others may come to lie there: the least that tells a layer's."""
    return tuple((each.data_ptr(), each.shape) for each in (*a, *b))


def _tell_apart(why: str) -> None:
    warn_once(f"{PAIR}: shrink and expand run apart where {why}")
