"""Defines the methods of SGLang's csgmv backend that run our kernels (contracts B9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

import torch

from autotune.servers.plugin import capture
from autotune.servers.sglang.batch import CsgmvBatch
from autotune.servers.sglang.plugin.drop_in import CsgmvCall
from autotune.servers.sglang.plugin.stand_in import StandIn

UNTRACED: Final = ("run_lora_a_sgemm", "run_lora_b_sgemm", "run_qkv_lora", "run_gate_up_lora")
"""The methods that run ours: what they choose by a batch is not to become a part of a compiled graph."""


class OurCsgmv:
    """What a subclass of the server's class has of its own; the parameters are the server's."""

    own: ClassVar[Any]
    """The server's class."""
    shrink: ClassVar[StandIn]
    expand: ClassVar[StandIn]

    batch_info: Any
    max_chunk_size: int
    _ranks: tuple[int, ...] | None = None
    """Of every slot, in the current batch."""
    _widths: Mapping[int, tuple[torch.Tensor, tuple[int, ...]]] = {}
    """Slices' widths by the offsets' tensors, which are kept, so that none takes another's place."""

    def prepare_lora_batch(
        self, forward_batch: Any, weight_indices: list[int], lora_ranks: list[int], *rest: Any, **more: Any
    ) -> None:
        self._ranks = tuple(lora_ranks)
        self.own.prepare_lora_batch(self, forward_batch, weight_indices, lora_ranks, *rest, **more)

    def run_lora_a_sgemm(
        self,
        x: torch.Tensor,
        weights: torch.Tensor,
        pruned_batch_info: Any = None,
        stack_num: int = 1,
        *_: Any,
        **__: Any,
    ) -> torch.Tensor:
        return self._shrunk(x, weights, self.batch_info if pruned_batch_info is None else pruned_batch_info, stack_num)

    def run_lora_b_sgemm(
        self,
        x: torch.Tensor,
        weights: torch.Tensor,
        output_offset: torch.Tensor,
        base_output: torch.Tensor | None = None,
        pruned_batch_info: Any = None,
        *_: Any,
        **more: Any,
    ) -> torch.Tensor:
        columns = weights.shape[-2]
        info = self.batch_info if pruned_batch_info is None else pruned_batch_info
        call = replace(self._call(x, weights, info, 1), widths=(columns,), base=base_output)
        return self._expanded(call, info, output_offset, columns, more)

    def run_qkv_lora(
        self,
        x: torch.Tensor,
        qkv_lora_a: torch.Tensor,
        qkv_lora_b: torch.Tensor,
        output_offset: torch.Tensor,
        max_qkv_out_dim: int,
        base_output: torch.Tensor | None = None,
        n_slices: int = 3,
        *_: Any,
        **more: Any,
    ) -> torch.Tensor:
        low = self._shrunk(x, qkv_lora_a, self.batch_info, n_slices)
        widths = self._widths_of(output_offset, more.get("output_offset_cpu"))
        call = replace(self._call(low, qkv_lora_b, self.batch_info, n_slices), widths=widths, base=base_output)
        return self._expanded(call, self.batch_info, output_offset, max_qkv_out_dim, more)

    def run_gate_up_lora(
        self,
        x: torch.Tensor,
        gate_up_lora_a: torch.Tensor,
        gate_up_lora_b: torch.Tensor,
        output_offset: torch.Tensor,
        base_output: torch.Tensor | None = None,
        *_: Any,
        **more: Any,
    ) -> torch.Tensor:
        width = gate_up_lora_b.shape[-2] // 2
        low = self._shrunk(x, gate_up_lora_a, self.batch_info, 2)
        call = replace(self._call(low, gate_up_lora_b, self.batch_info, 2), widths=(width, width), base=base_output)
        return self._expanded(call, self.batch_info, output_offset, width, more)

    def _shrunk(self, x: torch.Tensor, weights: torch.Tensor, info: Any, slices: int) -> torch.Tensor:
        own = {"x": x, "weights": weights, "batch_info": info, "num_slices": slices}
        return self.shrink(self._call(x, weights, info, slices), self.max_chunk_size, own)

    def _expanded(
        self, call: CsgmvCall, info: Any, offsets: torch.Tensor, max_slice_size: int, more: Mapping[str, Any]
    ) -> torch.Tensor:
        own = {
            "x": call.x,
            "weights": call.weights,
            "batch_info": info,
            "slice_offsets": offsets,
            "max_slice_size": max_slice_size,
            "base_output": call.base,
        }
        if "output_offset_cpu" in more:  # by releases that take it
            own["slice_offsets_cpu"] = more["output_offset_cpu"]
        return self.expand(call if call.widths else None, self.max_chunk_size, own)

    def _call(self, x: torch.Tensor, weights: torch.Tensor, info: Any, slices: int) -> CsgmvCall:
        """A graph is replayed with other batches than it is captured with."""
        ranks = None if info.use_cuda_graph else self._ranks
        return CsgmvCall(x, weights, CsgmvBatch.of(info, ranks), slices, check_ranks=ranks is None)

    def _widths_of(self, offsets: torch.Tensor, on_cpu: torch.Tensor | None) -> tuple[int, ...]:
        """Returns the slices' widths; none where they are on the GPU alone while a graph is captured.

        Those of a layer are fetched once, in older releases, which do not have them on the CPU.
        """
        if on_cpu is None and id(offsets) not in self._widths:
            if capture.is_on(offsets):
                return ()
            self._widths = {**self._widths, id(offsets): (offsets, _differences(offsets))}
        return self._widths[id(offsets)][1] if on_cpu is None else _differences(on_cpu)


def _differences(offsets: torch.Tensor) -> tuple[int, ...]:
    return tuple(offsets.diff().tolist())
