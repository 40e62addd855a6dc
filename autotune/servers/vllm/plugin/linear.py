"""Runs shrink and expand of a linear layer as one op, where that wins (contracts A15).

What calls it is traced by ``torch.compile``. So it is one op of a name of its own, and the key of the server's compile
caches learns of it: graphs with the op and without lie apart, whichever way a server is started next.
"""

from __future__ import annotations

import importlib
from collections.abc import Hashable
from contextlib import suppress
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
from autotune.servers.vllm.plugin.stand_in import gpu_name, one_line
from autotune.servers.vllm.plugin.state import PAIR
from autotune.servers.vllm.plugin.tracing import traced

_NAMESPACE: Final = "lora_autotune"
_SCHEMA: Final = (
    "(Tensor(a0!) y, Tensor x, Tensor[] lora_a, Tensor[] lora_b, Tensor token_lora_mapping, "
    "Tensor token_indices_sorted_by_lora_ids, Tensor num_tokens_per_lora, Tensor lora_token_start_loc, "
    "Tensor lora_ids, Tensor no_lora_flag_cpu, Tensor num_active_loras, float scale, bool add_inputs) -> ()"
)
_METADATA: Final = 7
_KEY: Final = "LORA_AUTOTUNE_LINEAR"
"""What the compile cache's factors have the op under; no variable of this name is read."""

_WRAPPER: Final = "vllm.lora.punica_wrapper.punica_gpu.PunicaWrapperGPU"
"""The server's own wrapper (contracts A15)."""

_LAYERS: Final = "vllm.lora.layers"

_OURS: Final = "autotune.servers.vllm.plugin.punica.PairingPunicaWrapper"

_libraries: Final[list[torch.library.Library]] = []


def install(folder: Path | None, kernel: Path) -> str:
    """Makes the server's linear layers call the op, once; returns why it does not, if it does not.

    Args:
        folder: Where tuned configs are; None for defaults alone.
        kernel: The file of our kernel, whose version it tells.
    """
    if _libraries:
        return ""
    platform: Any = type(importlib.import_module("vllm.platforms").current_platform)
    if (found := platform.get_punica_wrapper()) != _WRAPPER:
        return f"the server's wrapper is {found}, known is {_WRAPPER}"
    if why := _tell_compile_cache():
        return why
    register_op(traced(PAIR, PairOrApart(folder, kernel)))
    platform.get_punica_wrapper = classmethod(lambda cls: _OURS)
    _join_merged_layers()
    return ""


def _join_merged_layers() -> None:
    """Makes layers of several slices call the op, too, where a release has them call shrink and expand on their own.

    Of the known releases 0.23.0 has, whether they are sharded or not (contracts A15).
    """
    with suppress(ImportError, AttributeError):
        layers: Any = importlib.import_module(f"{_LAYERS}.column_parallel_linear")
        base: Any = importlib.import_module(f"{_LAYERS}.base_linear").BaseLinearLayerWithLoRA
        apart = layers._mcp_apply
        layers._mcp_apply = lambda x, bias, layer: (
            apart(x, bias, layer)
            if layer.tp_size > 1 or layer.lora_config.fully_sharded_loras
            else base.apply(layer, x, bias)
        )


def _tell_compile_cache() -> str:
    """Makes the op part of the compile caches' key; returns why it is not, if it is not."""
    envs: Any = importlib.import_module("vllm.envs")
    try:
        envs.environment_variables[_KEY] = lambda: PAIR
        if envs.compile_factors()[_KEY] == PAIR:
            return ""
    except (AttributeError, KeyError, TypeError) as error:
        return f"the compile cache's key cannot tell graphs with it from others ({one_line(error)})"
    return "the compile cache's key cannot tell graphs with it from others"


def register_op(function: Any) -> None:
    """Defines the op, opaque to ``torch.compile``: it changes y and returns nothing."""
    library = torch.library.Library(_NAMESPACE, "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define(PAIR + _SCHEMA)  # type: ignore[no-untyped-call]
    for key in ("CUDA", "CPU"):
        library.impl(PAIR, torch.inference_mode()(function), key)  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"{_NAMESPACE}::{PAIR}", lambda *_: None, lib=library)
    _libraries.append(library)


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
        buffer = torch.empty(call.shrink.out.shape, dtype=torch.float32, device=x.device)
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
