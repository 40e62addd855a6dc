"""Says what a user should know of a plan for SGLang: traps of its lookup, and where tuning is not the remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autotune.errors import one_of
from autotune.model.shape import ModelShape
from autotune.servers.notes import rank_advice
from autotune.servers.serving import Serving
from autotune.servers.sglang import stopping
from autotune.servers.sglang.architectures import WITHOUT
from autotune.servers.sglang.chunks import reachable
from autotune.servers.sglang.facts import ALL_LINEAR, EMBEDDINGS, MLP, SHARED_EXPERTS, SPLIT_K_CHUNK, WRAPPED_AS
from autotune.servers.sglang.serving import takes_mlps
from autotune.servers.sglang.split_k import LOSES_SPLIT_K, may_split_k
from autotune.servers.sglang.workloads import OTHER
from autotune.servers.shapes import Shape


def warnings(
    model: ModelShape, serving: Serving, max_chunk: int, shapes: Sequence[Shape], sizes: Sequence[int]
) -> Iterator[str]:
    """Tells what follows from the contracts for these lookups; one line each."""
    used = reachable(max_chunk)
    if dead := [size for size in sizes if size not in used]:
        yield (
            f"chunk size {one_of(dead)}: a server with --max-lora-chunk-size {max_chunk} only ever uses {one_of(used)}"
        )
    if model.experts is not None:
        yield "experts: SGLang's csgmv backend reads no file for their LoRA kernels, so they cannot be tuned"
    expands = [shape for shape in shapes if shape.op == "expand" and shape.dims["S"] > 1]
    if expands:
        yield "the files' keys hold the sum of the slices, not their widths: another split of the same sum shares them"
    if any("lm_head" in shape.layers for shape in shapes):
        yield "lm_head: it runs on the sampled rows only, with a chunk size of its own"
    yield from _split_k(shapes, sizes)
    yield from of_workloads(shapes)
    planned = {label.partition(" x")[0].rpartition(".")[2] for shape in shapes for label in shape.layers}
    named = [name for name in serving.target_modules or () if name not in ALL_LINEAR]
    if lacking := [name for name in named if WRAPPED_AS.get(name) not in planned]:
        yield f"--target-modules: {one_of(lacking)}: nothing is planned for it, as no layer of the model is known by it"
    if serving.target_modules is None:
        yield "planned for adapters on the projections of attention and MLP; name others with --target-modules"


def not_wrapped(model: ModelShape) -> Iterator[str]:
    """Tells which projections the server's class has none of, and which it must not be given; one line each."""
    if lacking := [name for name in WITHOUT.get(model.architecture, ()) if name not in EMBEDDINGS]:
        yield (
            f"{one_of(lacking)}: SGLang's class of {model.architecture} has no module of that name, so that nothing is "
            "wrapped for it; nothing is planned"
        )
    yield from stopping.notes(model)
    if not takes_mlps(model):
        yield (
            f"{one_of(MLP)}: not planned: SGLang stops (KeyError at start) where they are named, since its pool has a "
            f"place for MLPs beside experts only where the config has {' or '.join(SHARED_EXPERTS)}"
        )


def advice(serving: Serving, max_chunk: int) -> Iterator[str]:
    """Tells where more is to be gained than by tuning; one line each."""
    yield from rank_advice(serving)
    if max_chunk == reachable(max_chunk)[0]:
        yield (
            "If prefill counts, raise --max-lora-chunk-size to 128 first: that was worth +21% of throughput in "
            "SGLang's PR 20391, tuning on top of it about +2.6% (at 16: +12.6%)."
        )


def of_workloads(shapes: Sequence[Shape]) -> Iterator[str]:
    """Tells which batches are timed, where that is not what a server launches with the entries."""
    named: set[str | None] = {shape.flags.get("workload") for shape in shapes}
    for workload in named:
        if workload is None:
            yield (
                "the server's own kernels are timed on prompts and decode batches together, which they launch with one "
                "entry (recordings have prompts alone); ours on prompts, as the plug-in runs their defaults for decode "
                "batches"
            )
        elif other := OTHER.get(workload):
            yield (
                f"--workload {workload}: the server's own kernels launch {other} batches with the same entries, and "
                "may be slower there than without: leave it out, and none is taken that slows either"
            )


def _split_k(shapes: Sequence[Shape], sizes: Sequence[int]) -> Iterator[str]:
    """Tells where any tuned blocks cost a server the path that it may have been told to take (contracts B3)."""
    calls = [(shape, shape.call(size)) for shape in shapes for size in sizes]
    if layers := list(dict.fromkeys(name for shape, call in calls if may_split_k(call) for name in shape.layers)):
        yield f"{one_of(layers)}: at chunk size {SPLIT_K_CHUNK}, with other blocks, {LOSES_SPLIT_K}"
