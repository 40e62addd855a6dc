"""Drives vLLM's fused MoE LoRA as the server drives it: what its paths have in common (contracts A6, A13)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol
from unittest.mock import patch

import torch

from autotune.contract import AnyKernel, Config, Gpu
from autotune.contract.gpu import H200
from autotune.contract.source import Origin
from autotune.servers.served import ServedOp
from autotune.servers.vllm import facts
from autotune.servers.vllm.base_moe import BaseExperts, no_folder_config
from autotune.servers.vllm.moe_paths import small_batch
from autotune.servers.vllm.served_dense import prepared
from autotune.servers.vllm.served_modules import MOE, imported
from autotune.servers.vllm.served_releases import Release

MODULE: Final = "fused_moe_lora_op"

_TILES: Final = ("block_m", "block_n", "block_k", "group_size_m", "num_warps", "num_stages", "split_k")
"""What the op takes of a config, in its order (contracts A13)."""


_BLOCK_MS: Final = (16, 32, 64, 128, 256)
"""Every block_m of the spaces and of the base model's tiles (contracts A2)."""


class AlignedPairs(Protocol):
    """Pairs sorted by adapter and expert, in blocks of rows."""

    @property
    def sorted_ids(self) -> torch.Tensor: ...

    @property
    def expert_ids(self) -> torch.Tensor: ...

    @property
    def num_tokens_post_padded(self) -> torch.Tensor: ...


class ExpertChoices(Protocol):
    """The choices of M tokens among the experts of all GPUs."""

    @property
    def topk_ids(self) -> torch.Tensor: ...

    @property
    def topk_weights(self) -> torch.Tensor: ...

    @property
    def token_lora_mapping(self) -> torch.Tensor: ...

    @property
    def lora_ids(self) -> torch.Tensor: ...

    @property
    def enabled(self) -> torch.Tensor: ...

    @property
    def pairs(self) -> int: ...

    @property
    def top_k(self) -> int: ...

    @property
    def all_experts(self) -> int: ...


class RoutedBatch(Protocol):
    """The built-in kernels' batch: its alignments equal those of the server's own op."""

    @property
    def routing(self) -> ExpertChoices: ...

    @property
    def naive(self) -> bool: ...

    def aligned(self, block_m: int) -> AlignedPairs: ...


class RoutedTensors(Protocol):
    """What the arguments of all built-in kernels of experts have."""

    @property
    def x(self) -> torch.Tensor: ...

    @property
    def out(self) -> torch.Tensor: ...

    @property
    def batch(self) -> RoutedBatch: ...


class AddedTensors(RoutedTensors, Protocol):
    """The same where the product by B is added up."""

    @property
    def b(self) -> list[torch.Tensor]: ...

    @property
    def add_inputs(self) -> bool: ...

    @property
    def routed(self) -> bool: ...


@dataclass(frozen=True)
class Rows:
    """What the op is told of the rows.

    Attributes:
        sorted_ids: ``[L, W]`` int32; None where pairs are naive.
        expert_ids: ``[L, cdiv(W, block_m)]`` int32; ``[M * T]`` where pairs are naive.
        post_padded: ``[L]`` int32; None where pairs are naive.
    """

    sorted_ids: torch.Tensor | None
    expert_ids: torch.Tensor
    post_padded: torch.Tensor | None

    @property
    def tensors(self) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor | None]:
        """The op's three arguments."""
        return self.sorted_ids, self.expert_ids, self.post_padded


def rows_of(batch: RoutedBatch, block_m: int) -> Rows:
    """Returns the rows of a batch as a server has them with this block_m."""
    routing = batch.routing
    if batch.naive:
        return Rows(None, routing.topk_ids.reshape(-1), None)
    found = batch.aligned(block_m)
    # Servers do not round the width up to whole blocks; nothing but padding lies beyond theirs.
    width = server_width(routing.pairs, routing.all_experts, block_m)
    return Rows(found.sorted_ids[:, :width].contiguous(), found.expert_ids, found.num_tokens_post_padded)


def server_width(pairs: int, experts: int, block_m: int) -> int:
    """Returns the columns of a server's sorted ids (contracts A6)."""
    return pairs * block_m if pairs < experts else pairs + experts * (block_m - 1)


@dataclass(frozen=True)
class Tokens:
    """A batch as the op is told of it.

    Attributes:
        topk_weights: ``[M, T]`` fp32.
        mapping: ``[M]`` int32, the adapter slot of each token, -1 for none.
        lora_ids: ``[L + 1]`` int32, the slots in use.
        active: Groups of the grid, an int32 on the CPU.
        enabled: ``[L + 1]`` int32, 0 for slots without an adapter for the experts.
        rows: By block_m; made here, ahead of graph captures.
    """

    topk_weights: torch.Tensor
    mapping: torch.Tensor
    lora_ids: torch.Tensor
    active: torch.Tensor
    enabled: torch.Tensor
    rows: Mapping[int, Rows]

    @classmethod
    def of(cls, batch: RoutedBatch) -> Tokens:
        """Builds them with the server's own metadata."""
        routing = batch.routing
        mapping, *_, lora_ids, _, active = prepared(routing)
        enabled = torch.cat([routing.enabled, torch.zeros_like(routing.enabled[:1])])
        rows = {block_m: rows_of(batch, block_m) for block_m in _BLOCK_MS}
        return cls(routing.topk_weights, mapping, lora_ids, active, enabled, rows)

    @property
    def top_k(self) -> int:
        return self.topk_weights.shape[1]


class ServedMoe(ServedOp[Any]):
    """What all paths have in common."""

    def __init__(self, release: Release, builtin: AnyKernel) -> None:
        self.release = release
        self.builtin = builtin

    def origin(self) -> Origin:
        return MOE.origin()

    def no_file(self, problem: Any, gpu: Gpu, builtin: Config) -> Config:
        """Returns the base model's tiles, which a server without a config folder has."""
        call = self.builtin.call(problem)
        assert call is not None
        experts = BaseExperts(problem.m, problem.num_experts, problem.intermediate)
        tiles_ = no_folder_config(call.op, experts, call.dims["k"], gpu)
        return {name: tiles_[name] for name in builtin}

    def other_defaults(self, problem: Any, gpu: Gpu, builtin: Config) -> tuple[Config, ...]:
        """Returns those of a server whose folder has no file of these ops."""
        return (builtin,)

    def serving_note(self, problem: Any, grouped: bool) -> str | None:
        if small_batch(problem.rank, problem.pairs, problem.naive):
            return None
        return (
            f"vllm {self.release.version}'s own kernels of the experts were timed: the default is what it runs "
            "without a config folder, the base model's tiles; block_m 64, which it takes with a folder that has no "
            "files of them, was raced, too"
        )


def tiles(config: Config) -> list[Any]:
    """Returns what the op takes of a config; what the config lacks has the value that a server would take."""
    return [config.get(name, facts.MOE_FALLBACK[name]) for name in _TILES]


def upload(weights: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """Uploads the table of these addresses anew: the one in the op's cache may be of tensors that are gone."""
    if weights[0].is_meta:
        return None
    module = imported(MODULE)
    module._LORA_PTR_DICT.pop(tuple(weight.data_ptr() for weight in weights), None)
    table: torch.Tensor = module._get_ptr(list(weights), weights[0].device)
    return table


@contextmanager
def told_of_machine(device: torch.device) -> Iterator[None]:
    """Answers what the op asks of the machine where there is no GPU: as of an H200, for compiling ahead and for
    Triton's interpreter."""
    module = imported(MODULE)
    with ExitStack() as stack:
        if device.type != "cuda" or not hasattr(module.current_platform, "num_compute_units"):
            platform = _Platform(module.current_platform, _compute_units(device))
            stack.enter_context(patch.object(module, "current_platform", platform))
        if device.type != "cuda" and hasattr(module, "get_max_shared_memory_bytes"):
            stack.enter_context(patch.object(module, "get_max_shared_memory_bytes", lambda *_: H200.shared_bytes))
        if device.type == "meta":
            stack.enter_context(patch.object(module, "_get_ptr", _empty_table))
        yield


def _compute_units(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else H200.sms


def _empty_table(weights: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor:
    """Stands for a table of addresses: over meta tensors all are 0."""
    return torch.empty(len(weights), dtype=torch.uint64, device=device)


class _Platform:
    """The server's platform, which also knows the number of its multiprocessors."""

    def __init__(self, platform: Any, compute_units: int) -> None:
        self._platform = platform
        self._compute_units = compute_units

    def num_compute_units(self, device_id: int | None = None) -> int:
        return self._compute_units

    def __getattr__(self, name: str) -> Any:
        return getattr(self._platform, name)
