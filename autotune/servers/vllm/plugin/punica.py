"""Wraps LoRA kernels as the server does, with linear layers that call one op. The server imports it, by its name."""

from __future__ import annotations

import importlib
from typing import Any

import torch

_Wrapper: Any = importlib.import_module("vllm.lora.punica_wrapper.punica_gpu").PunicaWrapperGPU


class PairingPunicaWrapper(_Wrapper):  # type: ignore[misc]
    """vLLM's own wrapper, except that ``add_lora_linear`` is a single op, or two (contracts A15)."""

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Does what the server's does; ``torch.compile`` traces it."""
        x = x.view(-1, x.shape[-1])
        torch.ops.lora_autotune.lora_linear(
            y.view(-1, y.shape[-1]),
            x,
            lora_a_stacked,
            lora_b_stacked,
            *self._metadata(x),
            scale,
            kwargs.get("add_inputs", True),
        )

    def begin_lora_linear(self, x: torch.Tensor, lora_a_stacked: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Comes ahead of the base's product; returns what `end_lora_linear` takes. x is ``[M, K]``."""
        found: torch.Tensor = torch.ops.lora_autotune.lora_linear_begin(x, lora_a_stacked, *self._metadata(x), 1.0)
        return found

    def end_lora_linear(
        self,
        shrunk: torch.Tensor,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
    ) -> None:
        """Adds to the base's product y ``[M, N]`` what ``add_lora_linear`` does."""
        torch.ops.lora_autotune.lora_linear_end(
            shrunk, y, x, lora_a_stacked, lora_b_stacked, *self._metadata(x), 1.0, True
        )

    def _metadata(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found: tuple[torch.Tensor, ...] = self.token_mapping_meta.meta_args(
            x.size(0), self.lora_config.specialize_active_lora
        )
        return found
