"""Plans vLLM by a trace: the lookups as they were made, and the m with real traffic (contracts A16)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from autotune.errors import one_of
from autotune.servers.batches import Batches, BatchSizes
from autotune.servers.planning import TracedPlan
from autotune.servers.plugin import groups
from autotune.servers.serving import Serving
from autotune.servers.shapes import Shape, merged
from autotune.servers.trace import MOST_ADAPTERS, Trace, TracedLookup
from autotune.servers.trace_line import SeenLaunches
from autotune.servers.vllm import facts
from autotune.servers.vllm.lookups import with_ours
from autotune.servers.vllm.moe_paths import server_path
from autotune.servers.vllm.sizes import LEAST_SHARE, auto_m_values, own_keys, raced_m, rows_of, weigh

_EXPERT_DETAILS: Final = ("num_experts", "top_k_num", "fully_sharded", "expand_add_inputs")
_SWITCHES: Final = {"add_inputs", "fully_sharded", "expand_add_inputs", "ep", "half_inputs"}

_OF_ONE_SERVER: Final = ("fully_sharded", "expand_add_inputs", groups.EXPERT_GPUS)
"""What experts' lookups tell of the server's flags."""

_OF_RANK: Final = ("expand", facts.W2_SHRINK, facts.W2_EXPAND)
"""The ops whose k is the whole rank however LoRA is sharded (contracts A5, A6)."""

_SPREAD: Final = "ep"

_MOST_SLICES: Final = 16
"""More than any layer has (contracts A16)."""

_SHARES: Final = (2, 4, 8, 16, 32, 64)
"""Over how many GPUs A's rows may be shared out, of a server that did not tell."""


def traced(trace: Trace, batches: Batches) -> TracedPlan:
    """Plans what a trace says.

    Args:
        batches: Token counts to tune where a user chooses them; all else about batches is in the trace.

    Raises:
        InputError: If the lookups are not those of one server.
    """
    for each in trace.lookups:
        _check(trace, each)
    for name in _OF_ONE_SERVER:
        if len(found := trace.details(name)) > 1:
            trace.one(name, found)
    trace = replace(trace, lookups=tuple(_spread(trace.lookups)))
    serving = _serving(trace)
    told = trace.told(groups.TP)
    shares = {serving.rank // size for size in ((told,) if told else _SHARES)}
    for each in trace.lookups:
        _check_rank(trace, each, serving.rank, shares)
    sizes, samples = _sizes(trace, batches)
    widths = _expert_widths(trace)
    shapes = [_shape(each, serving, samples, widths) for each in trace.lookups]
    return TracedPlan(serving, tuple(merged(shapes)), sizes)


def _spread(lookups: Iterable[TracedLookup]) -> Iterator[TracedLookup]:
    """Yields the lookups with each layer of spread experts once: that they are spread shows at small batches alone."""
    found = dict[tuple[Any, ...], list[TracedLookup]]()
    for each in lookups:
        others = tuple(detail for detail in each.seen.details if detail[0] != _SPREAD)
        found.setdefault((each.seen.op, each.seen.dims, others, each.seen.rows), []).append(each)
    for same in found.values():
        shown = next((each for each in same if dict(each.seen.details).get(_SPREAD)), same[0])
        launches = SeenLaunches()
        for each in same:
            launches.add(each.launches)
        yield replace(shown, launches=launches)


def _serving(trace: Trace) -> Serving:
    """Returns the server's flags, as far as its lookups tell them; one that told no tensor-parallel size has 1."""
    dims = [(each.seen.op, dict(each.seen.dims)) for each in trace.lookups]
    adapters = [found["max_loras"] - (op not in facts.MOE_OPS) for op, found in dims]
    ranks = {found["k"]: each for each, (op, found) in zip(trace.lookups, dims, strict=True) if op in _OF_RANK}
    rank = trace.one("ranks", ranks)
    if rank not in facts.RANKS:
        raise trace.refused(ranks[rank], f"k: got {rank}, allowed as the server's rank: {one_of(facts.RANKS)}")
    return Serving(
        server=facts.NAME,
        tp=trace.told(groups.TP) or 1,
        rank=rank,
        max_loras=trace.one("--max-loras", adapters),
        fully_sharded=any(dict(each.seen.details).get("fully_sharded") for each in trace.lookups),
    )


def _sizes(trace: Trace, batches: Batches) -> tuple[BatchSizes, Mapping[int, float] | None]:
    """Returns the m of tokens, and the shares of the m of sampled rows, where batches of them were counted."""
    captured, tokens, samples = trace.captured, trace.batches["tokens"], trace.batches["samples"]
    # Without graphs batches are of any size: a ladder of powers of two.
    automatic = auto_m_values(captured or (1,), max(trace.largest, 1))
    wanted = batches.m_values
    if not tokens:
        asked = sorted(wanted or automatic)
        return BatchSizes(automatic, dict.fromkeys(asked, 1.0), raced_m(asked, automatic, captured)), None
    own = {*own_keys(tokens, captured), *own_keys(samples, ())}
    keys = {*automatic, *(wanted or own)}
    shares = _tuned(weigh(keys, tokens, captured), wanted)
    between = tuple(m for m in raced_m(shares, (), captured) if m in rows_of(tokens, captured))
    sampled = _tuned(weigh(keys, samples, ()), wanted) if samples else None
    return BatchSizes(tuple(sorted({*automatic, *own})), shares, between), sampled


def _tuned(shares: Mapping[int, float], wanted: Sequence[int]) -> dict[int, float]:
    return {m: share for m, share in shares.items() if (m in wanted if wanted else share >= LEAST_SHARE)}


def _check(trace: Trace, each: TracedLookup) -> None:
    """Makes sure that a lookup has the sizes of its op, and such as a server may have (contracts A16)."""
    seen, dims, details = each.seen, dict(each.seen.dims), dict(each.seen.details)
    levels = facts.MOE_LEVELS if seen.op in facts.MOE_OPS else facts.DENSE_LEVELS
    needed = {*levels, *(("add_inputs",) if seen.op == "expand" else ())} - {"m"}
    told = {"expand": ("slice_widths",), **dict.fromkeys(facts.MOE_OPS, _EXPERT_DETAILS)}.get(seen.op, ())
    if set(dims) != needed or seen.op == facts.LINEAR:
        raise trace.refused(each, f"dims: got {one_of(dims)}, needed: {one_of(sorted(needed))}")
    if missing := [name for name in told if name not in details]:
        raise trace.refused(each, f"details: got {one_of(details) or 'none'}, needed: {one_of(missing)}")
    for name, value in {**dims, **details}.items():
        values = value if isinstance(value, tuple) else (value,)
        if isinstance(value, tuple) and name != "slice_widths":
            raise trace.refused(each, f"{name}: got {list(value)}, allowed: a number")
        least, most = _bounds(seen.op, name)
        if min(values) < least or max(values) > most:
            raise trace.refused(each, f"{name}: got {value}, allowed: {least} to {most}")
    widths = details.get("slice_widths")
    fits = isinstance(widths, tuple) and len(widths) == dims["num_slices"] and max(widths) == dims["n"]
    if seen.op == "expand" and not fits:
        raise trace.refused(
            each,
            f"slice_widths: got {widths}, allowed: num_slices ({dims['num_slices']}) of them, of which n ({dims['n']}) "
            "is the largest",
        )


def _bounds(op: str, name: str) -> tuple[int, int]:
    """Returns the least and the most that a size can be."""
    if name in _SWITCHES:
        return 0, 1
    if name == "max_loras":
        return (1 if op in facts.MOE_OPS else 2), MOST_ADAPTERS
    if name == "num_slices":
        return 1, _MOST_SLICES
    return 1, facts.MAX_LM_HEAD_COLUMNS


def _check_rank(trace: Trace, each: TracedLookup, rank: int, shares: Collection[int]) -> None:
    """Makes sure that A has the rows of the server's rank, or one GPU's share of them (contracts A5, A6)."""
    name = "n" if each.seen.op == "shrink" else "k"
    rows = dict(each.seen.dims)[name]
    if rows != rank and rows not in shares:
        raise trace.refused(each, f"{name}: got {rows}, allowed: the server's rank {rank}, or one GPU's share of it")


def _expert_widths(trace: Trace) -> dict[tuple[int, ...], set[int]]:
    """Returns the widths of the experts, by what else tells experts apart: w2 has them, where w13 may have gate and up
    in one weight, which is twice as wide (contracts A17)."""
    found = defaultdict[tuple[int, ...], set[int]](set)
    for each in trace.lookups:
        if each.seen.op == facts.W2_SHRINK:
            found[_experts(each)].add(dict(each.seen.dims)["i"])
    return found


def _experts(each: TracedLookup) -> tuple[int, ...]:
    numbers = {**dict(each.seen.details), **dict(each.seen.dims)}
    return tuple(value for name in ("n", "num_experts", "top_k_num") if isinstance(value := numbers[name], int))


def _shape(
    each: TracedLookup,
    serving: Serving,
    samples: Mapping[int, float] | None,
    widths: Mapping[tuple[int, ...], Collection[int]],
) -> Shape:
    seen, dims = each.seen, dict(each.seen.dims)
    flags = _expert_flags(each, serving) if seen.op in facts.MOE_OPS else _dense_flags(each, serving)
    layers = each.launches.layers
    own = samples if seen.rows == "samples" else None
    label = f"{layers} layer{'s' if layers > 1 else ''}{' of sampled rows' if own else ''}"
    shape = Shape(
        server=facts.NAME,
        op=seen.op,
        dims=dims,
        size="m",
        kernels=tuple(_kernels(each)),
        flags=flags,
        layers=(label,),
        count=layers,
        min_size=_smallest(each, serving),
        shares=own,
    )
    possible = _base_widths(each, widths) if seen.op in facts.MOE_OPS else ()
    return with_ours(shape, serving, possible[0]) if len(possible) == 1 else shape


def _base_widths(each: TracedLookup, widths: Mapping[tuple[int, ...], Collection[int]]) -> Sequence[int]:
    """Returns how wide the base experts may be: one slice of w13 is gate and up, or up where there is no gate."""
    dims = dict(each.seen.dims)
    if each.seen.op == facts.W13_SHRINK and dims["num_slices"] == 1:
        return [width for width in widths.get(_experts(each), ()) if dims["i"] in (width, 2 * width)]
    return [dims["i"]]


def _kernels(each: TracedLookup) -> Iterator[str]:
    """Names what is tuned: an embedding's x is of half precision, and of experts the group answers all four."""
    op, details = each.seen.op, dict(each.seen.details)
    if op in ("shrink", "expand") and not details.get("half_inputs"):
        yield f"lora_{op}"
    elif op == facts.W13_SHRINK and dict(each.seen.dims)["num_slices"] == 2:
        yield facts.MOE_GROUP


def _dense_flags(each: TracedLookup, serving: Serving) -> dict[str, Any]:
    dims, details = dict(each.seen.dims), dict(each.seen.details)
    common = {"num_slices": dims["num_slices"], "num_loras": serving.max_loras}
    if each.seen.op == "shrink":
        return {**common, "hidden_size": dims["k"], "lora_rank": dims["n"]}
    sizes = {"hidden_size": dims["n"], "lora_rank": dims["k"], "slice_widths": details["slice_widths"]}
    return {**common, **sizes, "expand_add_inputs": dims["add_inputs"]}


def _expert_flags(each: TracedLookup, serving: Serving) -> dict[str, Any]:
    """Returns the group's flags; where a trace does not tell over how many GPUs experts are spread, it is two."""
    dims, details = dict(each.seen.dims), dict(each.seen.details)
    spread = int(bool(details.get(_SPREAD)))
    shards = max(1, serving.rank // dims["k"]) if details["fully_sharded"] else 1
    return {
        "hidden_size": dims["n"],
        "lora_rank": serving.rank,
        "num_loras": serving.max_loras,
        "num_experts": details["num_experts"],
        "top_k_num": details["top_k_num"],
        "moe_intermediate_size": dims["i"],
        "num_slices": dims["num_slices"],
        "fully_sharded": details["fully_sharded"],
        "tp": details.get(groups.EXPERT_GPUS, 2) if spread else shards,
        "ep": spread,
        "expand_add_inputs": details["expand_add_inputs"],
    }


def _smallest(each: TracedLookup, serving: Serving) -> int:
    """Returns the smallest m at which the entry is read: a small batch of experts is not sorted (contracts A6)."""
    details = dict(each.seen.details)
    if each.seen.op not in facts.MOE_OPS or details["fully_sharded"] or details.get(_SPREAD):
        return 1
    if server_path(serving.rank, False) != facts.ONE_SHOT:
        return 1
    experts, top_k = details["num_experts"], details["top_k_num"]
    assert isinstance(experts, int)
    assert isinstance(top_k, int)
    return experts * serving.max_loras // (facts.NAIVE_SHARE * top_k) + 1
