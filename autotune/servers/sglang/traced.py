"""Plans SGLang by a trace: lookups as they were made, and chunk sizes with real traffic (contracts B10)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from autotune.errors import InputError, one_of
from autotune.servers.batches import Batches, BatchSizes
from autotune.servers.planning import TracedPlan
from autotune.servers.plugin import groups
from autotune.servers.serving import Serving
from autotune.servers.sglang import facts, notes
from autotune.servers.sglang.lookups import check_workload
from autotune.servers.shapes import Shape, merged
from autotune.servers.trace import MOST_ADAPTERS, Trace, TracedLookup

_WIDEST: Final = 1 << 20
"""More columns than any layer has (contracts B10)."""

_MOST: Final = {"S": 16, "R": 1 << 13, "num_loras": MOST_ADAPTERS, "tp": 1 << 10}
"""More than any server has (contracts B10)."""


def traced(trace: Trace, batches: Batches) -> TracedPlan:
    """Plans what a trace says.

    Args:
        batches: Chunk sizes and the workload where a user chooses them; all else about batches is in the trace.

    Raises:
        InputError: If the lookups are not those of one server.
    """
    check_workload(batches.workload)
    for each in trace.lookups:
        _check(trace, each)
    serving = Serving(
        server=facts.NAME,
        tp=trace.told(groups.TP) or 1,
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
    sizes = BatchSizes(answered, _shares(trace.batches["tokens"], occurring, wanted))
    return TracedPlan(serving, tuple(shapes), sizes, tuple(notes.of_workloads(shapes)))


def _shares(counts: Mapping[int, int], occurring: Collection[int], wanted: Collection[int]) -> dict[int, float]:
    """Returns the shares of the sizes to tune; 1 for each where no batch was counted."""
    total = sum(counts.values())
    sizes = sorted(wanted or counts or occurring)
    return {size: counts.get(size, 0) / total if total else 1.0 for size in sizes}


def _sizes(each: TracedLookup) -> set[int]:
    return each.launches.captured | ({each.launches.largest} - {0})


def _check(trace: Trace, each: TracedLookup) -> None:
    """Makes sure that a lookup has the sizes of its op, and such as a server may have (contracts B10)."""
    dims, details = dict(each.seen.dims), dict(each.seen.details)
    if set(dims) != set(facts.FILE_DIMS):
        raise trace.refused(each, f"dims: got {one_of(dims)}, needed: {one_of(facts.FILE_DIMS)}")
    if "num_loras" not in details:
        raise trace.refused(each, f"details: got {one_of(details) or 'none'}, needed: num_loras")
    for name, value in {**dims, **details}.items():
        values = value if isinstance(value, tuple) else (value,)
        if isinstance(value, tuple) and name != "slice_widths":
            raise trace.refused(each, f"{name}: got {list(value)}, allowed: a number")
        most = _MOST.get(name, _WIDEST)
        if min(values) < 1 or max(values) > most:
            raise trace.refused(each, f"{name}: got {value}, allowed: 1 to {most}")
    widths = details.get("slice_widths")
    fits = isinstance(widths, tuple) and len(widths) == dims["S"] and sum(widths) == dims["K"]
    if each.seen.op == "expand" and not fits:
        raise trace.refused(
            each, f"slice_widths: got {widths}, allowed: S ({dims['S']}) of them, which add up to K ({dims['K']})"
        )


def _number(each: TracedLookup, name: str) -> int:
    value = dict(each.seen.details)[name]
    assert isinstance(value, int)
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
