"""Drives vLLM's fused MoE LoRA up to rank 128: one call a side, which runs a single kernel, or the small-batch one."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from autotune.contract import Config, Gpu, Launch
from autotune.servers.recorder import recording
from autotune.servers.vllm import facts
from autotune.servers.vllm.served_modules import imported
from autotune.servers.vllm.served_moe import MODULE, AddedTensors, ServedMoe, Tokens, tiles, told_of_machine, upload

_KERNELS = ("_fused_moe_lora_one_shot_kernel", "_fused_moe_lora_small_batch_kernel")


class OneShotTensors(AddedTensors, Protocol):
    """The built-in one-shot kernel's arguments."""

    @property
    def a(self) -> list[torch.Tensor]: ...


class WithOutput(Protocol):
    """Those arguments, with what their output begins with."""

    @property
    def arguments(self) -> OneShotTensors: ...


@dataclass(frozen=True)
class OneShotArguments:
    """Arguments of one call.

    Attributes:
        tensors: x ``[M, K]`` or ``[M * T, K]``; for each slice A ``[L, E, R, K]`` and B ``[L, E, N, R]``; out
            ``[M, T, S * N]``.
        tables: Addresses on the device; kept here, since a graph that is replayed reads them.
    """

    tensors: OneShotTensors
    tokens: Tokens
    tables: Any


class ServedOneShot(ServedMoe):
    """`fused_moe_lora` of one side, which reads block_m and nothing else, and not even that where pairs are naive."""

    def arguments(self, inputs: WithOutput, problem: Any) -> OneShotArguments:
        tensors = inputs.arguments
        return OneShotArguments(tensors, Tokens.of(tensors.batch), (upload(tensors.a), upload(tensors.b)))

    def run(self, arguments: OneShotArguments, config: Config) -> torch.Tensor:
        with told_of_machine(arguments.tensors.x.device):
            self._call(arguments, config)
        return arguments.tensors.out

    def launches(self, arguments: OneShotArguments, config: Config) -> list[Launch]:
        with ExitStack() as stack:
            stack.enter_context(told_of_machine(arguments.tensors.x.device))
            found: list[Launch] = stack.enter_context(recording(imported(MODULE), *_KERNELS))
            self._call(arguments, config)
        return found

    def canonical(self, problem: Any, config: Config, gpu: Gpu) -> Config:
        """Naive blocks have rows of their own number, no matter what the file says (contracts A3)."""
        return {**config, "block_m": facts.MOE_FALLBACK["block_m"]} if problem.naive else config

    def _call(self, arguments: OneShotArguments, config: Config) -> None:
        t, tokens = arguments.tensors, arguments.tokens
        both = tiles(config)
        rows = tokens.rows[both[0]]
        # Neither fully sharded nor at an offset: such layers run two kernels.
        sharding = (t.routed, False, 0, t.add_inputs)
        imported(MODULE)._fused_moe_lora(
            *(t.out, t.x, t.a, t.b, tokens.topk_weights, *rows.tensors, tokens.mapping, t.a[0].shape[2], tokens.top_k),
            *(tokens.lora_ids, tokens.active, tokens.enabled),
            *both,
            *both,
            *sharding,
        )
