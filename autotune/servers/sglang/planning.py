"""Answers what planning asks of SGLang."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from autotune.model.fields import language_model
from autotune.model.shape import ModelShape
from autotune.servers.batches import Batches, BatchSizes
from autotune.servers.planning import Planner, TracedPlan
from autotune.servers.serving import Serving
from autotune.servers.sglang import (
    adapters,
    delta_attention,
    fused_experts,
    hybrid,
    indexer,
    lacking,
    latent_attention,
    lookups,
    notes,
    quantised,
    registry,
    stopping,
    workloads,
)
from autotune.servers.sglang import serving as flags
from autotune.servers.sglang import sizes as chunk_sizes
from autotune.servers.sglang import traced as by_trace
from autotune.servers.sglang.architectures import ALL_SPARSE, TIED_UNSAID
from autotune.servers.shapes import Shape
from autotune.servers.trace import Trace


class SglangPlanner(Planner):
    """What SGLang looks up for a model, and what to mind of it."""

    def adapter_problems(self, config: Mapping[str, Any]) -> Iterable[str]:
        return adapters.problems(config)

    def check(self, serving: Serving) -> None:
        flags.check(serving)

    def check_model(self, model: ModelShape, serving: Serving) -> None:
        known = _sized(model)
        super().check_model(replace(known, unknown=None) if known.lacking else known, serving)
        stopping.check(known, serving)
        quantised.check(known, serving)
        flags.check_all(model, serving)
        flags.check_embeddings(known, serving)
        flags.check_mlps(known, serving)
        if latent_attention.applies(model):
            latent_attention.check(model, flags.named(serving))
            delta_attention.check(known, flags.named(serving))
        indexer.check(model, flags.named(serving))

    def assumptions(self, model: ModelShape, serving: Serving) -> list[str]:
        known = _sized(model)
        if registry.by_transformers(model):
            return [*registry.notes(model), *known.assumptions[1:]]
        return list(known.assumptions)

    def shapes(self, model: ModelShape, serving: Serving, batches: Batches) -> list[Shape]:
        return lookups.shapes(_sized(model), serving, batches.workload)

    def traced(self, trace: Trace, batches: Batches) -> TracedPlan:
        return by_trace.traced(trace, batches)

    def sizes(self, batches: Batches) -> BatchSizes:
        return chunk_sizes.sizes(batches)

    def times_several(self, flags: Mapping[str, Any], source: str) -> bool:
        return workloads.is_mixed(flags.get("workload"), source)

    def warnings(
        self, model: ModelShape, serving: Serving, batches: Batches, shapes: Sequence[Shape], sizes: Iterable[int]
    ) -> list[str]:
        known = _sized(model)
        lines = list(notes.warnings(known, serving, batches.max_lora_chunk_size, shapes, tuple(sizes)))
        if serving.target_modules is None:
            lines += notes.not_wrapped(known)
        lines += quantised.notes(known, serving)
        lines += fused_experts.notes(known, serving)
        lines += lacking.notes(known, lookups.layers(known, serving))
        lines += latent_attention.notes(known) if latent_attention.applies(known) else ()
        return [*lines, *(hybrid.notes(known) if hybrid.applies(known) else ())]

    def advice(self, serving: Serving, batches: Batches) -> list[str]:
        return list(notes.advice(serving, batches.max_lora_chunk_size))


def _sized(model: ModelShape) -> ModelShape:
    """Returns a model as this server's tables have it."""
    said = any("tie_word_embeddings" in config for config in (model.config, language_model(model.config)))
    if not said and model.architecture in TIED_UNSAID:
        return replace(_by_its_layers(model), tied=True)
    return _by_its_layers(model)


def _by_its_layers(model: ModelShape) -> ModelShape:
    if latent_attention.applies(model):
        return latent_attention.sized(model)
    if hybrid.applies(model):
        return hybrid.sized(model)
    if model.experts is not None and model.architecture in ALL_SPARSE:
        return replace(model, dense_layers=0, experts=replace(model.experts, layers=model.layers))
    return model
