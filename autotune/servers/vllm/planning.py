"""Answers what planning asks of vLLM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from autotune.contract import Call
from autotune.model.shape import ModelShape
from autotune.servers.batches import Batches, BatchSizes
from autotune.servers.planning import Planner, ReadOff, TracedPlan
from autotune.servers.serving import Serving
from autotune.servers.shapes import Shape
from autotune.servers.trace import Trace
from autotune.servers.vllm import adapters, facts, layer_classes, lookups, notes, placeholders
from autotune.servers.vllm import serving as flags
from autotune.servers.vllm import sizes as token_counts
from autotune.servers.vllm import traced as by_trace
from autotune.servers.vllm.architectures.wrapped import wrapped
from autotune.servers.vllm.captures import captured_by, fewest_uncaptured
from autotune.servers.vllm.from_server import road


class VllmPlanner(Planner):
    """What vLLM looks up for a model, and what to mind of it."""

    def pool_rank(self, largest: int) -> int:
        return flags.pool_rank(largest)

    def adapter_problems(self, config: Mapping[str, Any]) -> Iterable[str]:
        return adapters.problems(config)

    def check(self, serving: Serving) -> None:
        flags.check(serving)

    def check_model(self, model: ModelShape, serving: Serving) -> None:
        wrapped(model, serving)

    def assumptions(self, model: ModelShape, serving: Serving) -> list[str]:
        return list(notes.assumptions(wrapped(model, serving), serving.tower_connector))

    def shapes(self, model: ModelShape, serving: Serving, batches: Batches) -> list[Shape]:
        return _where_pairs_run(lookups.shapes(model, serving, batches.most_sampled_rows), batches)

    def placeholders(self, model: ModelShape, serving: Serving, shapes: Sequence[Shape]) -> list[Shape]:
        return list(placeholders.find(wrapped(model, serving), serving, shapes))

    def read_off(self, model: ModelShape, serving: Serving, batches: Batches) -> ReadOff:
        # Both ask the installed server, each in a process of its own that takes seconds to load it.
        with ThreadPoolExecutor(max_workers=1) as meanwhile:
            meanwhile.submit(captured_by, batches)
            found = road.read_off(model, serving, batches)
        return replace(found, shapes=tuple(_where_pairs_run(found.shapes, batches)))

    def traced(self, trace: Trace, batches: Batches) -> TracedPlan:
        return by_trace.traced(trace, batches)

    def sizes(self, batches: Batches) -> BatchSizes:
        return token_counts.sizes(batches)

    def required(self, shapes: Sequence[Shape], answered: Iterable[int]) -> list[Call]:
        return lookups.required(shapes, answered)

    def warnings(
        self, model: ModelShape, serving: Serving, batches: Batches, shapes: Sequence[Shape], sizes: Iterable[int]
    ) -> list[str]:
        return [*notes.warnings(model, serving, shapes, sizes), *notes.of_batches(batches)]

    def advice(self, serving: Serving, batches: Batches) -> list[str]:
        return list(notes.advice(serving))


def _where_pairs_run(shapes: Iterable[Shape], batches: Batches) -> list[Shape]:
    """Returns lookups with the pair left to batches that no CUDA graph is captured for, if the plug-in runs the shrink
    beside the base's product where one is (contracts A15)."""
    shapes = list(shapes)
    if not layer_classes.is_expected():
        return shapes
    fewest = fewest_uncaptured(batches)

    def uncaptured(each: Shape) -> Shape:
        return replace(each, min_size=fewest) if each.op == facts.LINEAR else each

    return [replace(shape, together=tuple(map(uncaptured, shape.together))) for shape in shapes]
