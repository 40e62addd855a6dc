"""A plan for SGLang by a trace: lookups as they were made, and chunk sizes with real traffic (contracts B10)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from autotune.errors import InputError, one_of
from autotune.servers.batches import Batches, BatchSizes
from autotune.servers.planning import TracedPlan
from autotune.servers.serving import Serving
from autotune.servers.sglang import facts
from autotune.servers.sglang.lookups import check_workload
from autotune.servers.shapes import Shape, merged
from autotune.servers.trace import Trace, TracedLookup


def traced(trace: Trace, batches: Batches) -> TracedPlan:
    """Plans what a trace says.

    Args:
        batches: Chunk sizes and the workload where a user chooses them; all else about batches is in the trace.

    Raises:
        InputError: If the lookups are not those of one server.
    """
    check_workload(batches.workload)
    for each in trace.lookups:
        _check(each)
    serving = Serving(
        server=facts.NAME,
        tp=1,
        rank=trace.one("ranks", [dict(each.seen.dims)["R"] for each in trace.lookups]),
        max_loras=trace.one("--max-loras-per-batch", [_number(each, "num_loras") for each in trace.lookups]),
    )
    occurring = tuple(sorted({size for each in trace.lookups for size in _sizes(each)} | {*trace.batches["tokens"]}))
    wanted = batches.chunk_sizes
    if bad := [size for size in wanted if size not in facts.CHUNK_SIZES]:
        raise InputError(f"--chunk-sizes: got {one_of(bad)}, allowed: {one_of(facts.CHUNK_SIZES)}")
    if bad := [size for size in (*occurring, *trace.batches["samples"]) if size not in facts.CHUNK_SIZES]:
        raise InputError(f"--trace: chunk sizes {one_of(bad)}, allowed: {one_of(facts.CHUNK_SIZES)}; trace again")
    samples = _shares(trace.batches["samples"], (), wanted) if trace.batches["samples"] else None
    shapes = merged(_shape(each, batches.workload, samples) for each in trace.lookups)
    answered = tuple(sorted({*occurring, *(samples or ())}))
    return TracedPlan(serving, tuple(shapes), BatchSizes(answered, _shares(trace.batches["tokens"], occurring, wanted)))


def _shares(counts: Mapping[int, int], occurring: Collection[int], wanted: Collection[int]) -> dict[int, float]:
    """Returns the shares of the sizes to tune; 1 for each where no batch was counted."""
    total = sum(counts.values())
    sizes = sorted(wanted or counts or occurring)
    return {size: counts.get(size, 0) / total if total else 1.0 for size in sizes}


def _sizes(each: TracedLookup) -> set[int]:
    return each.launches.captured | ({each.launches.largest} - {0})


def _check(each: TracedLookup) -> None:
    """Makes sure that a lookup has the sizes of its op."""
    dims, details = dict(each.seen.dims), dict(each.seen.details)
    if set(dims) != set(facts.FILE_DIMS) or "num_loras" not in details or 0 in (*dims.values(), details["num_loras"]):
        raise InputError(
            f"--trace: a lookup of {each.seen.op} has {one_of([*dims, *details])}; needed: {one_of(facts.FILE_DIMS)} "
            "and num_loras, none of them 0"
        )
    widths = details.get("slice_widths")
    fits = isinstance(widths, tuple) and len(widths) == dims["S"] and sum(widths) == dims["K"]
    if each.seen.op == "expand" and not fits:
        raise InputError(
            f"--trace: an expand of K {dims['K']} in {dims['S']} slices has the slice_widths {widths}, allowed: as "
            "many, which add up to K; trace again"
        )


def _number(each: TracedLookup, name: str) -> int:
    value = dict(each.seen.details)[name]
    if not isinstance(value, int):
        raise InputError(f"--trace: {name}: got {value}, allowed: one integer; trace again")
    return value


def _shape(each: TracedLookup, workload: str | None, samples: Mapping[int, float] | None) -> Shape:
    dims, details, layers = dict(each.seen.dims), dict(each.seen.details), each.launches.layers
    flags: dict[str, Any] = {
        "lora_rank": dims["R"],
        "num_slices": dims["S"],
        "num_loras": details["num_loras"],
        **({"workload": workload} if workload else {}),
    }
    of_op = {"hidden_size": dims["K"]} if each.seen.op == "shrink" else {"slice_widths": details["slice_widths"]}
    own = samples if each.seen.rows == "samples" else None
    label = f"{layers} layer{'s' if layers > 1 else ''}{' of sampled rows' if own else ''}"
    return Shape(
        server=facts.NAME,
        op=each.seen.op,
        dims=dims,
        size=facts.LEVELS[0],
        kernels=(f"csgmv_{each.seen.op}",),
        flags={**flags, **of_op},
        layers=(label,),
        count=layers,
        shares=own,
    )
