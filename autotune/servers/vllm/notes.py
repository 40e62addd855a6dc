"""Says what a user should know of a plan for vLLM: traps of its lookup, and where tuning is not the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from autotune.errors import InputError, one_of
from autotune.model.fields import remedy
from autotune.model.shape import ModelShape
from autotune.servers.batches import Batches
from autotune.servers.notes import rank_advice
from autotune.servers.serving import Serving
from autotune.servers.shapes import Shape
from autotune.servers.vllm.architectures.wrapped import Wrapped, wrapped
from autotune.servers.vllm.facts import ONE_SHOT_RANKS, W2_SHRINK, W13_SHRINK
from autotune.servers.vllm.lookups import one_shot

_MANY_LORAS = 8


def warnings(model: ModelShape, serving: Serving, shapes: Sequence[Shape], sizes: Iterable[int]) -> Iterator[str]:
    """Tells what follows from the contracts for these lookups; one line each."""
    yield from _lm_head(model, shapes)
    yield from _embeddings(shapes)
    if serving.fully_sharded and serving.tp > 1:
        yield (
            "fully sharded: nothing in the files' keys tells it apart; a server with the same sizes that is not fully "
            "sharded needs a folder of its own"
        )
    sizes = tuple(sizes)
    for shape in shapes:
        if shape.op == W13_SHRINK:
            yield from _experts(shape, shapes, serving, sizes)
    if unmatched := _unmatched(model, serving):
        yield (
            f"--target-modules: {one_of(unmatched)}: the server wraps no module by this name; nothing is planned for "
            "it, and the server stops if what has this name takes no LoRA, as a whole MLP does"
        )


def assumptions(found: Wrapped, tower_connector: bool) -> Iterator[str]:
    """Tells where the plan is from, and what of it was taken for granted; one line each."""
    known = found.language_model
    yield from known.assumed
    if not known.assumed:
        yield f"{known.architecture}: the lookups are by the tables of vLLM's classes, not read off a server"
    if found.uncalled:
        yield f"{one_of(found.uncalled)}: the server wraps it and never calls the wrapper; it is not planned"
    if known.multimodal:
        yield "the language model alone is planned, not its towers and connectors"
        if tower_connector:
            yield (
                "--enable-tower-connector-lora: what the towers and connectors look up is not known by the tables; "
                "plan with a server installed, or expect their lookups to run the nearest entry or the default"
            )
    if known.decoder:
        yield from known.decoder.unknown
    yield from _not_planned(found)
    if found.unknown_types:
        yield (
            f"layers of type {one_of(found.unknown_types)} are not known here: what stands in place of their "
            "attention is not planned; compare with what the server logs"
        )


def _not_planned(found: Wrapped) -> Iterator[str]:
    if found.unplanned:
        yield (
            f"{one_of(found.unplanned)}: not planned, since the config lacks {one_of(found.lacking)}; give "
            f"{remedy(found.lacking)}, or the server takes the nearest entry or its default for them"
        )
    if not found.counted:
        yield "the config lacks num_hidden_layers: how often each is looked up is not known; --set num_hidden_layers=N"


def advice(serving: Serving) -> Iterator[str]:
    """Tells where more is to be gained than by tuning; one line each."""
    yield (
        "Serve with CUDA graphs: with --enforce-eager the time between launches outweighs that of any of these kernels."
    )
    if serving.target_modules is None:
        yield (
            "Every module runs its kernels whether an adapter has weights for it or not: if yours do not touch "
            "them all, start the server with --lora-target-modules and plan with --target-modules."
        )
    yield from rank_advice(serving)
    if serving.max_loras > _MANY_LORAS:
        yield (
            f"--max-loras {serving.max_loras} sizes every launch's grid: set it no higher than the adapters of one "
            "batch, or serve with --specialize-active-lora."
        )


def of_batches(batches: Batches) -> Iterator[str]:
    """Tells what follows from how batches are launched; one line each."""
    if batches.enforce_eager:
        yield (
            "--enforce-eager: no batch is padded to a captured size, so m is any number of tokens: between the keys it "
            "takes the nearest one's config"
        )
    if batches.num_speculative_tokens:
        yield (
            f"--num-speculative-tokens {batches.num_speculative_tokens}: a decode step has {batches.decode_tokens} "
            f"tokens of each request, up to {batches.most_sampled_rows}, and lm_head as many rows"
        )


def _lm_head(model: ModelShape, shapes: Sequence[Shape]) -> Iterator[str]:
    if not any(label.partition(" ")[0] == "lm_head" for shape in shapes for label in shape.layers):
        return
    yield (
        "lm_head: its m is the number of sampled rows, any integer up to --max-num-seqs, outside CUDA graphs: "
        "between the keys it takes the nearest one's config"
    )
    if model.tied:
        yield "lm_head: its weights are those of embed_tokens; it is planned as if it were a layer of its own"


def _embeddings(shapes: Sequence[Shape]) -> Iterator[str]:
    for shape in shapes:
        if shape.op == "expand" and "embed_tokens" in shape.layers:
            others = one_of(label for label in shape.layers if label != "embed_tokens")
            yield (
                f"embed_tokens shares an expand key with {others}: tuned for them (its x is half precision, not fp32)"
                if others
                else "embed_tokens has an expand key of its own: it keeps the default (its x is no fp32)"
            )


def _unmatched(model: ModelShape, serving: Serving) -> tuple[str, ...]:
    """Returns the target modules that name nothing; none where the tables do not know the model, which the installed
    server's own classes may."""
    try:
        return tuple(wrapped(model, serving).unmatched)
    except InputError:
        return ()


def _experts(w13: Shape, shapes: Sequence[Shape], serving: Serving, sizes: Iterable[int]) -> Iterator[str]:
    if one_shot(serving):
        naive = w13.min_size - 1
        yield (
            f"experts: up to rank {ONE_SHOT_RANKS} the server runs one kernel for shrink and expand and reads "
            "nothing but block_m, of W13_SHRINK and W2_SHRINK, which must be the same"
        )
        sizes = list(sizes)
        if skipped := [m for m in sizes if m <= naive]:
            line = f"experts: at m = {one_of(skipped)} (up to {naive}) not even block_m is read; nothing is tuned"
            if len(skipped) == len(sizes):
                line += (
                    ", and with a config folder the server runs larger batches with block_m 64: tune a larger m, too"
                )
            yield line
    of_layers = (each for each in shapes if each.op in (W13_SHRINK, W2_SHRINK) and each.layers == w13.layers)
    if len({each.dims["i"] for each in of_layers}) > 1:
        yield (
            "experts: here W13 and W2 look up different widths, for which no group of studies can be made: they "
            "are not tuned, and with a config folder the server runs them with block_m 64"
        )
    yield "experts: the four FUSED_MOE_LORA files belong together: one without the others gives wrong results"
