"""What a user should know of a plan: traps of the server's lookup, and where tuning is not the remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autotune.errors import one_of
from autotune.model.layers import expert_layer
from autotune.model.shape import ModelShape
from autotune.servers.serving import Serving
from autotune.servers.sglang.chunks import reachable
from autotune.servers.sglang.facts import SPLIT_K_CHUNK
from autotune.servers.sglang.split_k import LOSES_SPLIT_K, may_split_k
from autotune.servers.shapes import Shape
from autotune.servers.vllm import facts
from autotune.servers.vllm import lookups as vllm

_HIGH_RANK = 64
_MANY_LORAS = 8


def warnings(
    model: ModelShape, serving: Serving, shapes: Sequence[Shape], sizes: Sequence[int], max_chunk: int
) -> list[str]:
    """What follows from the contracts for this server; one line each."""
    if serving.server == "sglang":
        return list(_sglang(model, serving, shapes, sizes, max_chunk))
    return list(_vllm(model, serving, shapes, sizes))


def advice(model: ModelShape, serving: Serving, max_chunk: int) -> Iterator[str]:
    """Where more is to be gained than by tuning; one line each."""
    if serving.server == "vllm":
        yield (
            "Serve with CUDA graphs: with --enforce-eager the time between launches outweighs that of any of these "
            "kernels."
        )
        if serving.target_modules is None:
            yield (
                "Every module runs its kernels whether an adapter has weights for it or not: if yours do not touch "
                "them all, start the server with --lora-target-modules and plan with --target-modules."
            )
    if serving.rank >= _HIGH_RANK:
        yield (
            f"Rank {serving.rank} is computed for every adapter, whatever its own: set --max-lora-rank no higher than "
            "your adapters' (--lora-path reads it off them)."
        )
    if serving.max_loras > _MANY_LORAS and serving.server == "vllm":
        yield (
            f"--max-loras {serving.max_loras} sizes every launch's grid: set it no higher than the adapters of one "
            "batch, or serve with --specialize-active-lora."
        )
    if serving.server == "sglang" and max_chunk == reachable(max_chunk)[0]:
        yield (
            "If prefill counts, raise --max-lora-chunk-size to 128 first: that was worth +21% of throughput in "
            "SGLang's PR 20391, tuning on top of it about +2.6% (at 16: +12.6%)."
        )


def _vllm(model: ModelShape, serving: Serving, shapes: Sequence[Shape], sizes: Sequence[int]) -> Iterator[str]:
    by_name = {label.partition(" ")[0] for shape in shapes for label in shape.layers}
    if "lm_head" in by_name:
        yield (
            "lm_head: its m is the number of sampled rows, any integer up to --max-num-seqs, outside CUDA graphs: "
            "between the keys it takes the nearest one's config"
        )
        if model.vocab > facts.MAX_LM_HEAD_COLUMNS:
            yield (
                f"lm_head: vLLM takes no LoRA on more than {facts.MAX_LM_HEAD_COLUMNS} columns, {model.name} has "
                f"{model.vocab}: the server refuses such adapters"
            )
        if model.tied:
            yield "lm_head: its weights are those of embed_tokens; it is planned as if it were a layer of its own"
    for shape in shapes:
        if shape.op == "expand" and "embed_tokens" in shape.layers:
            others = one_of(label for label in shape.layers if label != "embed_tokens")
            yield (
                f"embed_tokens shares an expand key with {others}: tuned for them (its x is half precision, not fp32)"
                if others
                else "embed_tokens has an expand key of its own: it keeps the default (its x is no fp32)"
            )
    if serving.fully_sharded and serving.tp > 1:
        yield (
            "fully sharded: nothing in the files' keys tells it apart; a server with the same sizes that is not fully "
            "sharded needs a folder of its own"
        )
    if (experts := expert_layer(model, serving)) is not None:
        if vllm.one_shot(serving):
            naive = vllm.naive_tokens(experts, serving)
            yield (
                f"experts: up to rank {facts.ONE_SHOT_RANKS} the server runs one kernel for shrink and expand and "
                "reads nothing but block_m, of W13_SHRINK and W2_SHRINK, which must be the same"
            )
            if skipped := [m for m in sizes if m <= naive]:
                yield f"experts: at m = {one_of(skipped)} (up to {naive}) not even block_m is read; nothing is tuned"
        if experts.fused:
            yield (
                "experts: here W13 and W2 look up different widths, for which no group of studies can be made: they "
                "are not tuned, and with a config folder the server runs them with block_m 64"
            )
        yield "experts: the four FUSED_MOE_LORA files belong together: one without the others gives wrong results"


def _sglang(
    model: ModelShape, serving: Serving, shapes: Sequence[Shape], sizes: Sequence[int], max_chunk: int
) -> Iterator[str]:
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
    if not any("workload" in shape.flags for shape in shapes):
        yield "the kernels are timed on prefill batches; with --workload mixed, decode batches count as much"
    if serving.target_modules is None:
        yield "planned for adapters on the projections of attention and MLP; name others with --target-modules"


def _split_k(shapes: Sequence[Shape], sizes: Sequence[int]) -> Iterator[str]:
    """Where any tuned blocks cost a server the path that it may have been told to take (contracts B3)."""
    calls = [(shape, shape.call(size)) for shape in shapes for size in sizes]
    if layers := list(dict.fromkeys(name for shape, call in calls if may_split_k(call) for name in shape.layers)):
        yield f"{one_of(layers)}: at chunk size {SPLIT_K_CHUNK}, with other blocks, {LOSES_SPLIT_K}"
