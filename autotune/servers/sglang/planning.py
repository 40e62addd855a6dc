"""SGLang's side of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autotune.model.shape import ModelShape
from autotune.servers.batches import Batches, BatchSizes
from autotune.servers.planning import Planner, TracedPlan
from autotune.servers.serving import Serving, check_targets
from autotune.servers.sglang import adapters, lookups, notes
from autotune.servers.sglang import serving as flags
from autotune.servers.sglang import sizes as chunk_sizes
from autotune.servers.sglang import traced as by_trace
from autotune.servers.shapes import Shape
from autotune.servers.trace import Trace


class SglangPlanner(Planner):
    """What SGLang looks up for a model, and what to mind of it."""

    def adapter_problems(self, config: Mapping[str, Any]) -> Iterable[str]:
        return adapters.problems(config)

    def check(self, serving: Serving) -> None:
        flags.check(serving)
        check_targets(serving)

    def shapes(self, model: ModelShape, serving: Serving, batches: Batches) -> list[Shape]:
        return lookups.shapes(model, serving, batches.workload)

    def traced(self, trace: Trace, batches: Batches) -> TracedPlan:
        return by_trace.traced(trace, batches)

    def sizes(self, batches: Batches) -> BatchSizes:
        return chunk_sizes.sizes(batches)

    def warnings(
        self, model: ModelShape, serving: Serving, batches: Batches, shapes: Sequence[Shape], sizes: Iterable[int]
    ) -> list[str]:
        return list(notes.warnings(model, serving, batches.max_lora_chunk_size, shapes, tuple(sizes)))

    def advice(self, serving: Serving, batches: Batches) -> list[str]:
        return list(notes.advice(serving, batches.max_lora_chunk_size))
