"""Checks the flags that SGLang's csgmv backend accepts, and what it wraps by them (contracts B4)."""

from __future__ import annotations

from autotune.errors import InputError, one_of
from autotune.model.fields import language_model
from autotune.model.shape import ModelShape
from autotune.model.wrapping import Wrapping
from autotune.servers.serving import Serving
from autotune.servers.sglang import facts, registry
from autotune.servers.sglang.architectures import HEAD_THOUGH_TIED, NO_PLACE_FOR_MLPS, STOPPED_BY_ALL


def check(serving: Serving) -> None:
    """Makes sure that no flag is given that the backend does not have.

    Raises:
        InputError: If one is; names it.
    """
    for flag, given in (
        ("--fully-sharded", serving.fully_sharded),
        ("--dual-stream", serving.dual_stream),
    ):
        if given:
            raise InputError(f"{flag}: SGLang's csgmv backend has no such mode; leave it out")
    targets = serving.target_modules or ()
    if unknown := [name for name in targets if name not in (*facts.WRAPPED_AS, *facts.ALL_LINEAR)]:
        raise InputError(
            f"--target-modules: got {one_of(unknown)}, which SGLang puts no LoRA on; allowed: {facts.ALL}, or of "
            f"{one_of(facts.WRAPPED_AS)}"
        )


def check_embeddings(model: ModelShape, serving: Serving) -> None:
    """Makes sure that the server has sizes for the embeddings it is to wrap.

    Raises:
        InputError: If it stops at start, since the model's class has none.
    """
    found = [name for name in facts.EMBEDDINGS if name in wrapping(model, serving).embeddings]
    if found and model.architecture in facts.WITHOUT_EMBEDDINGS:
        raise InputError(
            f"--target-modules: {one_of(found)}: SGLang's class of {model.architecture} has no size for it "
            "(NotImplementedError at start); name the projections alone"
        )


def check_all(model: ModelShape, serving: Serving) -> None:
    """Makes sure that the server has sizes for all that ``all`` finds in a model.

    Raises:
        InputError: If it stops at start, since it has none of some.
    """
    if set(named(serving)) & set(facts.ALL_LINEAR) and model.architecture in STOPPED_BY_ALL and _has_others(model):
        raise InputError(
            f"--target-modules: {one_of(facts.ALL_LINEAR)}: SGLang finds in_proj or out_proj in {model.architecture} "
            "and has no size for it (NotImplementedError at start); name the projections"
        )


def _has_others(model: ModelShape) -> bool:
    """Tells whether some layers have linear attention or a state space, as far as the config tells."""
    kinds = language_model(model.config).get("layer_types")
    return not isinstance(kinds, list) or not set(map(str, kinds)) <= set(facts.ATTENTION_KINDS)


def check_mlps(model: ModelShape, serving: Serving) -> None:
    """Makes sure that the server's pool has a place for the MLPs that are named.

    Raises:
        InputError: If it stops at start, since it has none.
    """
    found = set(named(serving))
    if found & {*facts.MLP, *facts.ALL_LINEAR} and not takes_mlps(model):
        raise InputError(
            f"--target-modules: {one_of(facts.MLP)}: SGLang's pool has a place for MLPs beside experts only where the "
            f"config has {' or '.join(facts.SHARED_EXPERTS)}, and stops (KeyError at start); name the projections of "
            "attention alone"
        )


def takes_mlps(model: ModelShape) -> bool:
    """Tells whether the server starts where a model's dense MLPs, if it has any, are named (contracts B4)."""
    beside = model.experts is not None and bool(model.dense_layers or model.experts.shared)
    config = language_model(model.config)
    stated = any(name in config for name in facts.SHARED_EXPERTS)
    if not beside or not (stated or model.architecture in NO_PLACE_FOR_MLPS):
        return True
    return any(type(size := config.get(name)) is int and size > 0 for name in facts.SHARED_EXPERTS)


def named(serving: Serving) -> tuple[str, ...]:
    """Returns the layers that the flags name, and the words that name all."""
    return tuple(facts.WRAPPED_AS.get(name, name) for name in serving.target_modules or ())


def wrapping(model: ModelShape, serving: Serving) -> Wrapping:
    """Returns what a server wraps: a packed qkv or gate_up part by part, no routers, embeddings only where they are
    named; each GPU keeps its shard of lm_head (contracts B4). ``all`` names both embeddings; an adapter's
    ``all-linear`` those that the model has, of which lm_head is none that is tied (contracts B6)."""
    names = named(serving)
    everything = set(names) & set(facts.ALL_LINEAR)
    own = model.architecture in HEAD_THOUGH_TIED or registry.by_transformers(model)
    shared = model.tied and not own
    of_model = ("embed_tokens",) if shared else facts.EMBEDDINGS
    found = facts.EMBEDDINGS if facts.ALL in names else of_model if everything else ()
    return Wrapping(
        tp=serving.tp,
        targets=None if everything or serving.target_modules is None else names,
        embeddings=(*found, *names),
        head_shards=serving.tp,
    )
