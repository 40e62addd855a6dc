"""Drives each kernel of vLLM's two for fused MoE LoRA: fully sharded, or of a rank above 128 (contracts A6).

Without fully sharded LoRA the kernels use tensor descriptors (TMA). What lies between them then is in the order of the
sorted pairs, which depends on block_m; else it is in the order of the pairs, as the built-in kernels have it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, Final, Protocol
from unittest.mock import patch

import torch

from autotune.contract import Config, Gpu, Launch
from autotune.servers.recorder import recording
from autotune.servers.vllm import facts
from autotune.servers.vllm.served_modules import imported
from autotune.servers.vllm.served_moe import (
    MODULE,
    AddedTensors,
    RoutedBatch,
    RoutedTensors,
    ServedMoe,
    Tokens,
    server_width,
    tiles,
    told_of_machine,
    upload,
)
from autotune.servers.vllm.served_sorted import SortedRows

_KERNEL: Final = "_fused_moe_lora_kernel"
_DESCRIPTOR_ELEMENTS: Final = 8
"""Rows that a tensor descriptor reads lie a multiple of 16 bytes apart."""


class ShrinkSide(RoutedTensors, Protocol):
    """The built-in shrink's arguments."""

    @property
    def a(self) -> list[torch.Tensor]: ...


class ExpandSide(AddedTensors, Protocol):
    """The built-in expand's arguments."""

    @property
    def offset(self) -> int: ...


@dataclass(frozen=True)
class TwoKernelArguments:
    """Arguments of one call of either.

    Attributes:
        side: The built-in kernel's arguments.
        weights: A or B, ``[L, E, rows, columns]`` a slice.
        between: What the shrink writes and the expand reads, ``[S, M, T, R]``.
        sorted: The same in the order of the sorted pairs; None where the server has the pairs' order.
        table: Addresses on the device; kept here, since a graph that is replayed reads them.
    """

    side: Any
    weights: list[torch.Tensor]
    between: torch.Tensor
    sorted: SortedRows | None
    tokens: Tokens
    fully_sharded: bool
    table: Any

    @property
    def device(self) -> torch.device:
        return self.between.device

    @property
    def pairs(self) -> int:
        return self.tokens.topk_weights.numel()

    def rows(self, block_m: int) -> int:
        """Returns the rows that the grid covers."""
        sorted_ids = self.tokens.rows[block_m].sorted_ids
        return self.pairs * block_m if sorted_ids is None else sorted_ids.shape[1]


class ServedTwoKernel(ServedMoe):
    """What shrink and expand have in common."""

    def run(self, arguments: TwoKernelArguments, config: Config) -> torch.Tensor:
        with told_of_machine(arguments.device), _interpretable(arguments.device):
            return self._call(arguments, config)

    def launches(self, arguments: TwoKernelArguments, config: Config) -> list[Launch]:
        with ExitStack() as stack:
            stack.enter_context(told_of_machine(arguments.device))
            found: list[Launch] = stack.enter_context(recording(imported(MODULE), _KERNEL))
            self._call(arguments, config)
        return found

    @abstractmethod
    def _call(self, arguments: TwoKernelArguments, config: Config) -> torch.Tensor:
        """Calls the op; returns what it wrote."""

    @abstractmethod
    def columns(self, problem: Any) -> int:
        """Returns the columns that the kernel writes."""

    @property
    def _is_gate_up(self) -> bool:
        return "gate_up" in self.builtin.name

    def refusal(self, problem: Any) -> str | None:
        release, sharded = self.release, problem.fully_sharded
        if not sharded and problem.rank > facts.ONE_SHOT_RANKS and not release.two_kernels_unsharded:
            return (
                f"vllm {release.version} stops at experts of rank {problem.rank}; allowed: up to "
                f"{facts.ONE_SHOT_RANKS}, or fully sharded LoRA; or take vllm 0.32 or later"
            )
        if problem.dtype == "float16" and not release.two_kernels_in_half:
            return (
                f"vllm {release.version} multiplies float16 experts as bfloat16, which is not as exact as the gate "
                "asks for; serve bfloat16, or take vllm 0.33 or later"
            )
        if not problem.add_inputs and (sharded or not release.two_kernels_unsharded):
            return "the server never overwrites here; leave --expand-add-inputs at 1"
        sizes = (problem.rank, problem.hidden, problem.intermediate)
        if not sharded and any(size % _DESCRIPTOR_ELEMENTS for size in sizes):
            return (
                f"got rank, hidden and intermediate size {sizes}, allowed: multiples of {_DESCRIPTOR_ELEMENTS}, which "
                "tensor descriptors need"
            )
        return None

    def canonical(self, problem: Any, config: Config, gpu: Gpu) -> Config:
        """The order of tiles matters only if several lie along both dimensions, in more than one band."""
        block_m, block_n, group = (int(config[name] or 0) for name in ("block_m", "block_n", "group_size_m"))
        width = problem.pairs * block_m if problem.naive else server_width(problem.pairs, problem.all_experts, block_m)
        m_tiles, n_tiles = math.ceil(width / block_m), math.ceil(self.columns(problem) / block_n)
        banded = n_tiles > 1 and m_tiles > min(group, facts.GROUP_SIZE)
        return config if banded else {**config, "group_size_m": facts.GROUP_SIZE}

    def infeasible(self, problem: Any, config: Config, gpu: Gpu) -> str | None:
        """Its tiles are the built-in kernel's, so what cannot win there cannot here."""
        return self.builtin.infeasible(problem, config, gpu)


class ServedMoeShrink(ServedTwoKernel):
    """`_fused_moe_lora_shrink`, with the zeroing of what it writes."""

    def arguments(self, inputs: ShrinkSide, problem: Any) -> TwoKernelArguments:
        tokens = Tokens.of(inputs.batch)
        ordered = SortedRows.of(inputs.out, tokens) if _sorts(inputs.batch, problem) else None
        return TwoKernelArguments(
            inputs, inputs.a, inputs.out, ordered, tokens, problem.fully_sharded, upload(inputs.a)
        )

    def columns(self, problem: Any) -> int:
        return int(problem.rank // problem.tp if self._is_gate_up else problem.rank)

    def poison(self, arguments: TwoKernelArguments) -> None:
        if arguments.sorted is not None:
            arguments.sorted.values.fill_(torch.nan)

    def laid_out(self, arguments: TwoKernelArguments, output: torch.Tensor, config: Config) -> torch.Tensor:
        return output if arguments.sorted is None else arguments.sorted.by_pair(int(config["block_m"] or 0))

    def _call(self, arguments: TwoKernelArguments, config: Config) -> torch.Tensor:
        a, tokens, both = arguments, arguments.tokens, tiles(config)
        x, out = a.side.x, a.between if a.sorted is None else a.sorted.view(both[0])
        out.zero_()
        _, experts, rank, depth = a.weights[0].shape
        imported(MODULE)._fused_moe_lora_shrink(
            *(out, x, a.weights, tokens.topk_weights, *tokens.rows[both[0]].tensors, tokens.mapping, tokens.top_k),
            *(tokens.lora_ids, tokens.enabled, a.device),
            *(rank, tokens.topk_weights.shape[0], a.rows(both[0]), depth, a.pairs, experts, len(a.weights)),
            *both,
            tokens.active,
            # A row of x is a pair's, or a token's.
            x.shape[0] == a.pairs,
            **_features(a),
        )
        return out


class ServedMoeExpand(ServedTwoKernel):
    """`_fused_moe_lora_expand`."""

    def arguments(self, inputs: Any, problem: Any) -> TwoKernelArguments:
        side: ExpandSide = inputs.arguments
        tokens = Tokens.of(side.batch)
        ordered = SortedRows.of(side.x, tokens) if _sorts(side.batch, problem) else None
        return TwoKernelArguments(side, side.b, side.x, ordered, tokens, problem.fully_sharded, upload(side.b))

    def columns(self, problem: Any) -> int:
        return int(problem.intermediate if self._is_gate_up else problem.hidden // problem.tp)

    def _call(self, arguments: TwoKernelArguments, config: Config) -> torch.Tensor:
        a, tokens, both = arguments, arguments.tokens, tiles(config)
        side: ExpandSide = a.side
        if a.sorted is not None:
            a.sorted.order(both[0], a.between)
        x = a.between if a.sorted is None else a.sorted.view(both[0])
        _, experts, columns, rank = a.weights[0].shape
        overwriting = {"add_inputs": side.add_inputs} if self.release.two_kernels_unsharded else {}
        imported(MODULE)._fused_moe_lora_expand(
            *(side.out, x, a.weights, tokens.topk_weights, *tokens.rows[both[0]].tensors, tokens.mapping),
            *(tokens.top_k, tokens.lora_ids, tokens.enabled, a.device),
            *(rank, tokens.topk_weights.shape[0], a.rows(both[0]), rank, a.pairs, experts, len(a.weights)),
            *(rank, columns),
            *both,
            *(tokens.active, side.routed, side.offset),
            **_features(a),
            **overwriting,
        )
        return side.out


def _sorts(batch: RoutedBatch, problem: Any) -> bool:
    """Tells whether what lies between the kernels is in the order of the sorted pairs."""
    return not batch.naive and not problem.fully_sharded and _descriptors(batch.routing.topk_ids.device)


def _descriptors(device: torch.device) -> bool:
    return bool(imported(MODULE).supports_tma(device))


def _features(arguments: TwoKernelArguments) -> dict[str, bool]:
    """Returns the features of the GPU that the kernels use, as the op that calls both chooses them."""
    module, device, sharded = imported(MODULE), arguments.device, arguments.fully_sharded
    descriptors = not sharded and _descriptors(device)
    if descriptors and len(arguments.weights) > 1 and device.type == "cuda":
        # Descriptors of several weights are made on the device.
        module.set_triton_allocator(device)
    return {"use_gdc": not sharded and bool(module.supports_pdl(device)), "use_tma": descriptors}


def _interpretable(device: torch.device) -> AbstractContextManager[Any]:
    """Does without dependent launches on the CPU: Triton's interpreter knows none."""
    return patch.object(imported(MODULE), "supports_pdl", lambda _: False) if device.type == "cpu" else nullcontext()
