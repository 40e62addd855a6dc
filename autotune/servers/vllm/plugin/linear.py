"""Runs shrink and expand of a linear layer as one op, where that wins (contracts A15)."""

from __future__ import annotations

import importlib
from collections.abc import Hashable
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch

from autotune.contract import Config, Launch
from autotune.contract.fingerprint import file_fingerprint
from autotune.servers.plugin import warm_up
from autotune.servers.plugin.configs import TunedConfigs, Tuner
from autotune.servers.plugin.notices import warn_once
from autotune.servers.vllm import facts, linear
from autotune.servers.vllm.plugin.lookups import FolderLookup
from autotune.servers.vllm.plugin.shrink_beside import room
from autotune.servers.vllm.plugin.stand_in import gpu_name, one_line
from autotune.servers.vllm.plugin.state import PAIR

_METADATA: Final = 7


class PairOrApart:
    """What the op does, call by call: our pair for few tokens, unless an entry says otherwise; for more the server's
    two ops, whoever runs them.

    It never waits for the GPU. It takes memory where weights are seen first, for tables of addresses and a workspace:
    in the server's profiling run, ahead of every graph capture. Launches share the workspace, so they must follow each
    other, as a server's do.
    """

    def __init__(self, folder: Path | None, kernel: Path) -> None:
        self._folder = folder
        self._kernel = kernel
        self._tables: dict[Hashable, Any] = {}
        self._workspaces: dict[Hashable, Any] = {}
        self._compiled: set[Hashable] = set()
        self._failed = ""

    def __call__(
        self, y: torch.Tensor, x: torch.Tensor, a: list[torch.Tensor], b: list[torch.Tensor], *rest: Any
    ) -> None:
        """Takes the op's arguments, in its order."""
        metadata, (scale, add_inputs) = rest[:_METADATA], rest[_METADATA:]
        call = self._part.LinearCall.of(y, x, a, b, metadata, (scale, add_inputs))
        if x.shape[0] == 0 or call.shrink.no_lora or self._paired(call):
            return
        buffer = room(x, a)
        torch.ops.vllm.lora_shrink(x, a, buffer, *metadata, scale)
        torch.ops.vllm.lora_expand(buffer, b, y, *metadata, 0, add_inputs)

    def _paired(self, call: Any) -> bool:
        """Runs a call by our pair, if it is to be and can be."""
        if why := self._failed or self._part.outside(call) or self._too_late(call):
            warn_once(f"{PAIR}: shrink and expand run apart where {why}")
            return False
        key = call.weights_key
        try:
            if key not in self._tables:
                self._prepare(call)
            config = self._config(call)
        except Exception as error:  # out of memory, or whatever a file leads to
            self._fail(one_line(error))
            return False
        if config is None:
            return False
        try:
            workspace = self._workspaces[call.shape_key]
            for launch in self._part.launches(self._part.arguments(call, self._tables[key], workspace), config):
                launch.run()
        except Exception as error:  # whatever the compiler or the driver makes of anybody's config
            self._reject(call, one_line(error))
            return False
        return True

    def _config(self, call: Any) -> Config | None:
        """Returns what the pair is launched with; None where shrink and expand run apart."""
        lookup = self._part.lookup(call)
        if self._tuned is not None and (tuned := self._tuned.find(lookup)) is not None:
            return None if linear.is_apart(tuned) else tuned
        default: Config | None = self._part.default_config(lookup)
        return default

    def _reject(self, call: Any, why: str) -> None:
        """Leaves what does not run out from now on: the entry, or without one the pair."""
        lookup = self._part.lookup(call)
        if self._tuned is not None and self._tuned.find(lookup) is not None:
            self._tuned.reject(lookup, why)
        else:
            self._fail(why)

    def _fail(self, why: str) -> None:
        """Leaves the pair out from now on."""
        self._failed = f"the pair failed once ({why})"

    def _too_late(self, call: Any) -> str:
        """Tells whether weights are seen first while a graph is captured, which cannot capture an upload."""
        x = call.shrink.x
        if call.weights_key in self._tables or not x.is_cuda or not torch.cuda.is_current_stream_capturing():
            return ""
        return "a CUDA graph is captured before the weights were used"

    def _prepare(self, call: Any) -> None:
        """Uploads tables, and for a new shape makes a workspace and compiles all that its entries launch."""
        self._tables[call.weights_key] = self._part.tables(call)
        if call.shape_key in self._compiled:
            return
        self._compiled.add(call.shape_key)
        entries = [] if self._lookup is None else self._lookup.token_counts(self._part.lookup(call))
        counts = (*(each for each in warm_up.TOKEN_COUNTS if each <= linear.MOST_TOKENS), *entries)
        self._workspaces[call.shape_key] = self._part.workspace(call, max(counts), call.shrink.x.device)
        warm_up.compile_ahead(lambda m: self._launches(call, m), counts)

    def _launches(self, call: Any, m: int) -> list[Launch]:
        empty = call.on_meta(m)
        if (config := self._config(empty)) is None:
            return []
        workspace = self._part.workspace(empty, m, "meta")
        found: list[Launch] = self._part.launches(self._part.arguments(empty, (None, None), workspace), config)
        return found

    @cached_property
    def _part(self) -> Any:
        """Our kernel's part of this, found by name, as kernels import this package and not the other way round."""
        return importlib.import_module(f"autotune.kernels.{PAIR}.drop_in")

    @cached_property
    def _lookup(self) -> FolderLookup | None:
        return None if self._folder is None else FolderLookup(self._folder, gpu_name())

    @cached_property
    def _tuned(self) -> TunedConfigs | None:
        """Made at the first call: the plug-in is loaded before the server chooses its GPU."""
        if self._folder is None or self._lookup is None:
            return None
        here = Tuner(gpu_name(), file_fingerprint(self._kernel, self._part.INCLUDES))
        return TunedConfigs(self._folder, self._lookup, here, facts.LINEAR_KEYS)
