"""Records SGLang's lookups: shapes where the backend's methods are called, and batches where it prepares them.

A CUDA graph that is replayed calls none of the methods that launch, but each batch is prepared (contracts B10).
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final
from weakref import WeakSet

import torch

from autotune.servers.plugin import capture, groups
from autotune.servers.plugin import tracer as tracers
from autotune.servers.plugin.tracer import Tracer
from autotune.servers.sglang import facts
from autotune.servers.trace_line import Rows, SeenLookup

_REGISTRY: Final = "sglang.srt.lora.backend.lora_registry"

_GROUPS: Final = "sglang.srt.distributed.parallel_state"
"""The module of the groups of processes (contracts B10)."""

_traced: Final = WeakSet[Callable[[], type[Any]]]()
"""Factories of backends that record already."""


def install() -> None:
    """Records what this process looks up, if that is wanted; again does nothing."""
    if (tracer := tracers.of(facts.NAME)) is None:
        return
    backends = importlib.import_module(_REGISTRY).LORA_SUPPORTED_BACKENDS
    own = backends[facts.BACKEND]
    if own in _traced:
        return

    def factory() -> type[Any]:
        return _recording(tracer, own())

    _traced.add(factory)
    backends[facts.BACKEND] = factory


def _recording(tracer: Tracer, own: type[Any]) -> type[Any]:
    """Returns a subclass of a backend's class that records; that class if there is nothing to record by."""
    members = {
        "_note_shrink": staticmethod(tracer.quietly(functools.partial(_note_shrink, tracer))),
        "_note_expand": staticmethod(tracer.quietly(functools.partial(_note_expand, tracer))),
        "_note_batch": staticmethod(tracer.quietly(functools.partial(_note_batch, tracer))),
        "__module__": __name__,
    }
    return type(f"Traced{own.__name__}", (TracedBackend, own), members)


class TracedBackend:
    """What the subclass has of its own; the parameters are the server's."""

    _note_shrink: ClassVar[Callable[..., None]]
    _note_expand: ClassVar[Callable[..., None]]
    _note_batch: ClassVar[Callable[..., None]]

    batch_info: Any

    def prepare_lora_batch(
        self, forward_batch: Any, weight_indices: list[int], lora_ranks: list[int], *rest: Any, **more: Any
    ) -> None:
        super().prepare_lora_batch(forward_batch, weight_indices, lora_ranks, *rest, **more)  # type: ignore[misc]
        self._note_batch(self, weight_indices, lora_ranks)

    def run_lora_a_sgemm(
        self, x: Any, weights: Any, pruned_batch_info: Any = None, stack_num: int = 1, *rest: Any, **more: Any
    ) -> Any:
        self._note_shrink(self.batch_info, pruned_batch_info, weights, stack_num)
        return super().run_lora_a_sgemm(x, weights, pruned_batch_info, stack_num, *rest, **more)  # type: ignore[misc]

    def run_lora_b_sgemm(
        self,
        x: Any,
        weights: Any,
        output_offset: Any,
        base_output: Any = None,
        pruned_batch_info: Any = None,
        *rest: Any,
        **more: Any,
    ) -> Any:
        self._note_expand(self.batch_info, pruned_batch_info, weights, (weights.shape[-2],))
        own = super().run_lora_b_sgemm  # type: ignore[misc]
        return own(x, weights, output_offset, base_output, pruned_batch_info, *rest, **more)

    def run_qkv_lora(
        self,
        x: Any,
        qkv_lora_a: Any,
        qkv_lora_b: Any,
        output_offset: Any,
        max_qkv_out_dim: int,
        base_output: Any = None,
        n_slices: int = 3,
        *rest: Any,
        **more: Any,
    ) -> Any:
        self._note_shrink(self.batch_info, None, qkv_lora_a, n_slices)
        widths = _widths(qkv_lora_b.shape[-2], n_slices, max_qkv_out_dim, more.get("output_offset_cpu"))
        self._note_expand(self.batch_info, None, qkv_lora_b, widths)
        own = super().run_qkv_lora  # type: ignore[misc]
        return own(x, qkv_lora_a, qkv_lora_b, output_offset, max_qkv_out_dim, base_output, n_slices, *rest, **more)

    def run_gate_up_lora(
        self,
        x: Any,
        gate_up_lora_a: Any,
        gate_up_lora_b: Any,
        output_offset: Any,
        base_output: Any = None,
        *rest: Any,
        **more: Any,
    ) -> Any:
        self._note_shrink(self.batch_info, None, gate_up_lora_a, 2)
        self._note_expand(self.batch_info, None, gate_up_lora_b, (gate_up_lora_b.shape[-2] // 2,) * 2)
        own = super().run_gate_up_lora  # type: ignore[misc]
        return own(x, gate_up_lora_a, gate_up_lora_b, output_offset, base_output, *rest, **more)


def _widths(columns: int, slices: int, widest: int, offsets: torch.Tensor | None) -> tuple[int, ...]:
    """Returns the slices' widths. Releases that have the offsets on the GPU alone, where nobody waits for them, have a
    q, which is the widest, and a k and v that are alike."""
    if offsets is not None:
        return tuple(offsets.diff().tolist())
    return (widest, *((columns - widest) // (slices - 1) for _ in range(slices - 1))) if slices > 1 else (columns,)


def _note_shrink(tracer: Tracer, info: Any, pruned: Any, weights: torch.Tensor, slices: int) -> None:
    rows, columns = weights.shape[-2:]
    _note(tracer, "shrink", {"K": columns, "R": rows // slices, "S": slices}, {}, (info, pruned, weights))


def _note_expand(tracer: Tracer, info: Any, pruned: Any, weights: torch.Tensor, widths: tuple[int, ...]) -> None:
    columns, rank = weights.shape[-2:]
    dims = {"K": columns, "R": rank, "S": len(widths)}
    _note(tracer, "expand", dims, {"slice_widths": widths}, (info, pruned, weights))


def _note(
    tracer: Tracer,
    op: str,
    dims: dict[str, int],
    details: dict[str, int | tuple[int, ...]],
    call: tuple[Any, Any, torch.Tensor],
) -> None:
    info, pruned, weights = call
    if torch.compiler.is_compiling():
        return
    rows: Rows = "tokens" if pruned is None else "samples"
    gpus = groups.details(tp=groups.size(_GROUPS, "get_tp_group"))
    told = {**details, "num_loras": weights.shape[0], **dict(gpus)}
    dtype = str(weights.dtype).removeprefix("torch.")
    seen = SeenLookup(tracer.server, tracer.release, op, tuple(dims.items()), tuple(told.items()), dtype, rows)
    is_captured = capture.is_on(weights)
    size = (info if pruned is None else pruned).max_len
    tracer.lookup(seen, int(size), weights.data_ptr(), is_captured)


def _note_batch(tracer: Tracer, backend: Any, weight_indices: Sequence[int], ranks: Sequence[int]) -> None:
    """Counts a batch that uses adapters: those that graphs are captured with use none."""
    if any(ranks[index] for index in weight_indices):
        tracer.batch("tokens", int(backend.batch_info.max_len))
        pruned = getattr(backend, "lm_head_batch_info", None)
        if pruned is not None:
            tracer.batch("samples", int(pruned.max_len))
