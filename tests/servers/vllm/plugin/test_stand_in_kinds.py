"""Calls of one kind, whose launches are repeated, are those that would be launched alike, whatever differs."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autotune.contract import Launch
from autotune.kernels.aligned_moe_lora.drop_in import DROP_IN as EXPERTS
from autotune.kernels.lora_expand.drop_in import DROP_IN as EXPAND
from autotune.kernels.lora_shrink.drop_in import DROP_IN as SHRINK
from autotune.servers.vllm.plugin.drop_in import DropIn
from autotune.servers.vllm.plugin.stand_in import OursOrTheirs

pytestmark = pytest.mark.skipif(
    "config.getoption('--device') != 'cpu'", reason="nothing is launched: the calls are made of tensors on the CPU"
)

HALVES = (torch.float16, torch.bfloat16)

DENSE: dict[str, tuple[Any, ...]] = {
    "m": (8, 16, 17, 300),
    "k": (64, 96),
    "rank": (16, 8),
    "widths": ((32,), (32, 32), (32, 48), (32, 40)),
    "loras": (4, 2),
    "set": (0, 1),
    "dtype": HALVES,
    "x": (None, torch.float32, *HALVES),
    "x_columns": (1, 2),
    "x_turned": (False, True),
    "out": (None, torch.float32, torch.float16),
    "out_columns": (0, 16),
    "out_rows": (0, 3),
    "ids": (torch.int32, torch.int64),
    "more_tokens": (0, 5),
    "groups": (5, 3, 1),
    "scaling": (1.0, 0.5),
    "offset": (0, 16, 8),
    "add": (True, False),
}

MOE: dict[str, tuple[Any, ...]] = {
    "m": (4, 16, 200),
    "top_k": (2, 4),
    "k": (64, 96),
    "n": (48, 64),
    "rank": (16, 8),
    "said_rank": (0, 8),
    "slices": (1, 2),
    "experts": (8, 4),
    "loras": (2, 3),
    "set": (0, 1),
    "shared": (False, True),
    "dtype": HALVES,
    "x": (None, *HALVES),
    "block_m": (None, 16, 64, 24),
    "wider": (0, 64),
    "ids": (torch.int32, torch.int64),
    "weights": (torch.float32, torch.float16),
    "more_tokens": (0, 5),
    "groups": (3, 2, 1),
    "routed": (False, True),
    "sharded": (False, True),
    "offset": (0, 16),
    "add": (True, False),
}


@functools.cache
def weight(shape: tuple[int, ...], dtype: torch.dtype, *_: Hashable) -> torch.Tensor:
    """Returns the same tensor for the same arguments, so that calls have weights in common."""
    return torch.zeros(shape, dtype=dtype)


def dense(op: str, f: Mapping[str, Any]) -> tuple[Any, ...]:
    """Returns the arguments of one of the dense ops."""
    m, k, rank, widths, loras = (f[name] for name in ("m", "k", "rank", "widths", "loras"))
    sizes = [rank] * len(widths) if op == "shrink" else widths
    depth = k if op == "shrink" else rank
    weights = [weight((loras, 1, size, depth), f["dtype"], f["set"], s) for s, size in enumerate(sizes)]
    rows = (m,) if op == "shrink" else (len(widths), m)
    x = torch.zeros(*rows, depth * f["x_columns"], dtype=f["x"] or f["dtype"])[..., :depth]
    x = x.mT.contiguous().mT if f["x_turned"] else x
    if op == "shrink":
        out = torch.zeros(len(widths), m, rank, dtype=f["out"] or torch.float32)
        extra: tuple[Any, ...] = (f["scaling"],)
    else:
        columns = f["offset"] + sum(widths) + f["out_columns"]
        out = torch.zeros(m + f["out_rows"], columns, dtype=f["out"] or f["dtype"])
        extra = (f["offset"], f["add"])
    counts = (m + f["more_tokens"], m + f["more_tokens"], loras + 1, loras + 2, loras + 1)
    ids = [torch.zeros(count, dtype=f["ids"]) for count in counts]
    return (x, weights, out, *ids, torch.tensor([False]), torch.tensor([f["groups"]]), *extra)


def experts(f: Mapping[str, Any]) -> tuple[Any, ...]:
    """Returns the arguments of the experts' op."""
    m, top_k, k, n, rank, slices, each, loras = (
        f[name] for name in ("m", "top_k", "k", "n", "rank", "slices", "experts", "loras")
    )

    def pool(side: int, rows: int, columns: int) -> list[torch.Tensor]:
        shape = (loras, 1 if f["shared"] else each, rows, columns)
        found = [weight(shape, f["dtype"], f["set"], side, s) for s in range(slices)]
        return [one.expand(loras, each, rows, columns) for one in found]

    def index(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=f["ids"])

    x = torch.zeros(m * top_k if f["routed"] else m, k, dtype=f["x"] or f["dtype"])
    out = torch.zeros(m, top_k, slices * n, dtype=f["x"] or f["dtype"])
    block_m, width = f["block_m"] or 0, m * top_k + f["wider"]
    rows: tuple[Any, ...] = (None, index(m * top_k), None)
    if block_m:
        rows = (index(loras, width), index(loras, -(-width // block_m)), index(loras))
    return (
        *(out, x, pool(0, rank, k), pool(1, n, rank), torch.zeros(m, top_k, dtype=f["weights"]), *rows),
        *(index(m + f["more_tokens"]), f["said_rank"] or rank, top_k, index(loras + 1)),
        *(torch.tensor([f["groups"]]), index(loras + 1), block_m, *[0] * 13),
        *(f["routed"], f["sharded"], f["offset"], f["add"]),
    )


@dataclass(frozen=True)
class Op:
    drop_in: DropIn[Any, Any]
    arguments: Any
    fields: Mapping[str, tuple[Any, ...]]


OPS = {
    "shrink": Op(SHRINK, functools.partial(dense, "shrink"), DENSE),
    "expand": Op(EXPAND, functools.partial(dense, "expand"), DENSE),
    "experts": Op(EXPERTS, experts, MOE),
}


def laid_out(drop_in: DropIn[Any, Any], call: Any) -> Any:
    """Returns all that a call is launched with, or why it is not: tensors by which of the call's they are."""
    if why := drop_in.outside(call):
        return why
    table = drop_in.table(call)
    tables = table if isinstance(table, tuple) else (table,)
    tensors = [*call.tensors, *(each for each in tables if each is not None)]
    arguments = drop_in.arguments(call, table)
    lookup, default = drop_in.lookup(arguments), drop_in.default_config(arguments)
    fits = [block_m for block_m in (16, 64) if drop_in.fitted(arguments, {**default, "block_m": block_m})]
    launches = [_plain(launch, tensors) for launch in drop_in.launches(arguments, default)]
    return (lookup, drop_in.without_entry(arguments), fits, launches)


def _plain(launch: Launch, tensors: list[torch.Tensor]) -> Any:
    def role(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return (type(value), value)
        return (value.dtype, [at for at, each in enumerate(tensors) if each.data_ptr() == value.data_ptr()])

    return (launch.fn, launch.grid, [role(value) for value in launch.args], dict(launch.options))


def pairs(fields: Mapping[str, tuple[Any, ...]]) -> st.SearchStrategy[tuple[dict[str, Any], dict[str, Any]]]:
    """Draws two calls that differ in a few things; most of the first is as it usually is."""
    some = st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True)

    def changed(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries({name: st.sampled_from(fields[name]) for name in names})

    usual = {name: values[0] for name, values in fields.items()}
    first = some.flatmap(changed).map(lambda found: {**usual, **found})
    return st.tuples(first, some.flatmap(changed)).map(lambda found: (found[0], {**found[0], **found[1]}))


@pytest.mark.parametrize("op", OPS)
def test_calls_of_one_kind_are_launched_alike(op: str) -> None:
    drop_in, arguments, fields = OPS[op].drop_in, OPS[op].arguments, OPS[op].fields

    @settings(max_examples=300)
    @given(pairs(fields))
    def check(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
        one, two = (drop_in.call(arguments(found)) for found in both)
        assume(not drop_in.outside_of_weights(one))
        if one.batch_key == two.batch_key and (one.weights_key == two.weights_key or one.shape_key == two.shape_key):
            assert laid_out(drop_in, one) == laid_out(drop_in, two)

    check()


@pytest.mark.parametrize(("block_m", "left"), [(None, True), (16, False)])
def test_pairs_that_are_not_sorted_are_left_with_wide_ids(block_m: int | None, left: bool) -> None:
    """The kernel compiles for no such pairs, and a call that fails has all of its layer left, sorted ones as well."""
    fields = {name: values[0] for name, values in MOE.items()} | {"ids": torch.int64, "block_m": block_m}
    why = EXPERTS.outside(EXPERTS.call(experts(fields)))
    assert why == ("pairs are not sorted and their experts are torch.int64" if left else "")


def test_two_threads_tell_kinds_apart() -> None:
    """One is held up while it looks up the kind that it has found to be new, and the other does so too."""
    kinds: list[object] = []
    none = {name: lambda _: "" for name in ("outside", "outside_of_weights", "table")}
    stand_in = OursOrTheirs(
        SimpleNamespace(name="op", **none),  # type: ignore[arg-type]
        lambda *_: None,
        SimpleNamespace(lookup=None),  # type: ignore[arg-type]
    )

    def meet(shape_key: Hashable) -> None:
        call = SimpleNamespace(x=torch.zeros(1, 1), weights_key=object(), shape_key=shape_key)
        kinds.append(stand_in._prepared(call).kind)

    class HeldUp:
        def __hash__(self) -> int:
            if not kinds:
                meet("another")
            return 0

    meet(HeldUp())
    assert len(set(kinds)) == 2
