"""Runs shrink and expand of a linear layer as one op, where that wins (contracts A15)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from autotune.contract import Config, Launch
from autotune.servers.plugin import capture, warm_up
from autotune.servers.plugin.kernel_configs import KernelConfigs
from autotune.servers.plugin.notices import one_line, warn_once
from autotune.servers.plugin.repeat import Repeats
from autotune.servers.vllm import linear
from autotune.servers.vllm.plugin import metadata, override
from autotune.servers.vllm.plugin.drop_in import address_key, batch_key
from autotune.servers.vllm.plugin.lookups import FolderLookup
from autotune.servers.vllm.plugin.shrink_beside import empty_buffer
from autotune.servers.vllm.plugin.state import PAIR


class _Taken(NamedTuple):
    """What the op takes: ``y``, ``x``, A, B, the metadata's tensors, the scale and whether to add."""

    y: torch.Tensor
    x: torch.Tensor
    a: Sequence[torch.Tensor]
    b: Sequence[torch.Tensor]
    tokens: Sequence[torch.Tensor]
    extra: tuple[float, bool]

    @property
    def weights_key(self) -> Hashable:
        """Tells all of the weights, and what is done with them: others may come to lie where these were."""
        return (self.extra, *map(address_key, (*self.a, *self.b)))

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.y, self.x, *self.a, *self.b, *self.tokens[: metadata.NO_LORA])


@dataclass(frozen=True)
class _Ready:
    """What the pair needs of a layer's weights, made ahead of every graph capture.

    Attributes:
        tables: Addresses of A and of B, where there are several.
        workspace: Of all layers of the shape.
        most_tokens: How many a pair may have.
        kind: Stands for the shape.
    """

    tables: Any
    workspace: Any
    most_tokens: int
    kind: object

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        tables = tuple(each for each in self.tables if each is not None)
        return (*tables, self.workspace.parts, self.workspace.arrivals)


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
        self._ready: dict[Hashable, _Ready] = {}
        self._workspaces: dict[object, Any] = {}
        self._repeats = Repeats()
        self._apart: set[Hashable] = set()
        """Kinds of shape and batch that run apart by their entry, or by the default."""
        self._failed: set[object] = set()

    def __call__(
        self, y: torch.Tensor, x: torch.Tensor, a: Sequence[torch.Tensor], b: Sequence[torch.Tensor], *rest: Any
    ) -> None:
        """Takes the op's arguments, in its order."""
        tokens, (scale, add_inputs) = rest[: metadata.COUNT], rest[metadata.COUNT :]
        taken = _Taken(y, x, a, b, tokens, (scale, add_inputs))
        key = taken.weights_key
        ready = self._ready.get(key)
        idle = x.shape[0] == 0 or (bool(tokens[metadata.NO_LORA].item()) and (ready is not None or capture.is_on(x)))
        if idle or (ready is not None and self._paired(taken, ready)):
            return
        if ready is None:
            self._prepare(taken, key)
        buffer = empty_buffer(x, a)
        override.call("lora_shrink", x, a, buffer, *tokens, scale)
        override.call("lora_expand", buffer, b, y, *tokens, 0, add_inputs)

    def _paired(self, taken: _Taken, ready: _Ready) -> bool:
        """Runs a call by our pair, if it is to be and can be."""
        if taken.x.shape[0] > ready.most_tokens or ready.kind in self._failed:
            return False
        kind = (ready.kind, batch_key(taken.x, taken.y, taken.tokens))
        if kind in self._apart:
            return False
        tensors = taken.tensors + ready.tensors
        try:
            if (repeat := self._repeats.get(kind)) is not None and repeat.run(tensors):
                return True
            call = self._drop_in.LinearCall.of(*taken)
            if why := self._drop_in.outside(call):
                _tell_apart(why)
                return False
            if (config := self._config(call)) is None:
                self._apart.add(kind)
                return False
        except Exception as error:  # out of memory, or whatever a file leads to
            self._fail(ready.kind, one_line(error))
            return False
        try:
            arguments = self._drop_in.arguments(call, ready.tables, ready.workspace)
            self._repeats.run(kind, self._drop_in.launches(arguments, config), tensors)
        except Exception as error:  # whatever the compiler or the driver makes of anybody's config
            self._reject(call, ready.kind, one_line(error))
            return False
        return True

    def _config(self, call: Any) -> Config | None:
        """Returns what the pair is launched with; None where shrink and expand run apart."""
        lookup = self._drop_in.lookup(call)
        if (tuned := self._configs.find(lookup)) is not None:
            return None if linear.is_apart(tuned) else tuned
        default: Config | None = self._drop_in.default_config(lookup)
        return default

    def _reject(self, call: Any, kind: object, why: str) -> None:
        """Leaves what does not run out from now on: the entry, or without one the pair of the call's shape."""
        lookup = self._drop_in.lookup(call)
        if self._configs.find(lookup) is not None:
            self._configs.reject(lookup, why)
        else:
            self._fail(kind, why)

    def _fail(self, kind: object, why: str) -> None:
        """Leaves the pair out from now on, for layers of a shape."""
        self._failed.add(kind)
        _tell_apart(f"the pair failed once ({why})")

    def _prepare(self, taken: _Taken, key: Hashable) -> None:
        """Uploads tables, and for a new shape makes a workspace and compiles all that its entries launch; not while a
        graph is captured, which cannot capture an upload."""
        call = self._drop_in.LinearCall.of(*taken)
        kind = self._repeats.shape(call.shape_key)
        if kind in self._failed:
            return
        try:
            late = "a CUDA graph is captured before the weights were used" if capture.is_on(taken.x) else ""
            if why := self._drop_in.outside(call) or late:
                _tell_apart(why)
                return
            tables, counts = self._drop_in.tables(call), self._token_counts(call)
            if kind not in self._workspaces:
                self._workspaces[kind] = self._drop_in.workspace(call, max(counts), taken.x.device)
                warm_up.compile_ahead(lambda m: self._launches(call, m), counts)
            self._ready[key] = _Ready(tables, self._workspaces[kind], max(counts), kind)
        except Exception as error:  # out of memory, or whatever a file leads to
            self._fail(kind, one_line(error))

    def _token_counts(self, call: Any) -> tuple[int, ...]:
        """Lists those that a pair may be launched for."""
        look_up = self._configs.lookup
        entries = [] if look_up is None else look_up.token_counts(self._drop_in.lookup(call))
        return (*(each for each in warm_up.TOKEN_COUNTS if each <= linear.MOST_TOKENS), *entries)

    def _launches(self, call: Any, m: int) -> list[Launch]:
        empty = call.on_meta(m)
        if (config := self._config(empty)) is None:
            return []
        workspace = self._drop_in.workspace(empty, m, "meta")
        found: list[Launch] = self._drop_in.launches(self._drop_in.arguments(empty, (None, None), workspace), config)
        return found


def _tell_apart(why: str) -> None:
    warn_once(f"{PAIR}: shrink and expand run apart where {why}")
