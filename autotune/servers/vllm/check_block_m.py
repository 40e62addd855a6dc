"""Finds where two of the four fused MoE LoRA files give one batch different block_m (contracts A1 and A6).

A server finds its entry level by level, by the nearest key of each file. Two files with different keys so change from
one entry to the next at different values, and may differ between keys though they agree at all of them. What is found
only changes at keys and midway between two, so it is enough to look there, on both sides.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from autotune.servers.vllm import facts, moe
from autotune.servers.vllm.check_levels import Walk

DEFAULT = int(facts.MOE_FALLBACK["block_m"] or 0)
"""Of an op that has no file or whose entry lacks it (contracts A2, A3)."""

Shape = tuple[int, int, int]
"""The k, n and i of a key."""

Blocks = dict[Shape, int]
"""The block_m of each shape, in the file's order; none where a server takes the default."""

Table = dict[int, dict[str, dict[int, Blocks]]]
"""By max_loras, num_slices and m."""


@dataclass(frozen=True)
class BlockMismatch:
    """What some batches find in two files.

    Attributes:
        m: Of the batches; a key of one of the files, if there is one in the range.
        first_m: The least m of the batches, no less than the smallest key.
        last_m: The largest; None if there is none.
        one: The block_m of the one file.
        other: Of the other.
    """

    max_loras: int
    m: int
    first_m: int
    last_m: int | None
    one: frozenset[int]
    other: frozenset[int]


def differences(one: Walk | None, other: Walk | None, sharded: bool) -> list[BlockMismatch]:
    """Returns all entries that some server finds together and that differ in block_m.

    Args:
        one: A file; None if there is none, for which the server takes its default.
        sharded: The files are w13's and w2's, of different num_slices; fully sharded servers look up different k.
    """
    made, made_other = (_table(walk) if walk else {} for walk in (one, other))
    first, second = made or _defaults(made_other, sharded), made_other or _defaults(made, sharded)
    found: dict[BlockMismatch, None] = {}
    for (loras, entry, entry_other), ms in _batches(first, second, sharded).items():
        differing = _differing(_blocks(first, entry), _blocks(second, entry_other), sharded)
        if differing[0]:
            keys = entry[2], entry_other[2]
            m = next((m for m in ms if m in keys), ms[0])
            last_m = None if ms[-1] == max(_ms(first, entry) | _ms(second, entry_other)) else ms[-1]
            found[BlockMismatch(loras, m, ms[0], last_m, *map(frozenset, differing))] = None
    return list(found)


_Entry = tuple[int, str, int]
"""The keys taken: max_loras, num_slices and m."""


def _batches(one: Table, other: Table, sharded: bool) -> dict[tuple[int, _Entry, _Entry], list[int]]:
    """Returns, by max_loras and the entries taken together, the m for which they are, ascending."""
    loras_of: dict[tuple[int, int], int] = {}
    for loras in [*sorted({*one, *other}), *_probes(one, other)]:
        # Of all that take the same, a key speaks for the others.
        loras_of.setdefault((_nearest(one, loras), _nearest(other, loras)), loras)
    found: dict[tuple[int, _Entry, _Entry], list[int]] = {}
    for (a, b), loras in loras_of.items():
        for s, t in itertools.product(one[a], other[b]):
            if s == t or sharded:
                ms, ms_other = one[a][s], other[b][t]
                for m in _probes(ms, ms_other):
                    entries = (a, s, _nearest(ms, m)), (b, t, _nearest(ms_other, m))
                    found.setdefault((loras, *entries), []).append(m)
    return found


def _blocks(table: Table, entry: _Entry) -> Blocks:
    loras, slices, m = entry
    return table[loras][slices][m]


def _ms(table: Table, entry: _Entry) -> set[int]:
    loras, slices, _ = entry
    return set(table[loras][slices])


def _probes(one: Collection[int], other: Collection[int]) -> list[int]:
    """Returns the keys, and both sides of where each file changes from one to the next."""
    found = {*one, *other}
    for keys in (sorted(one), sorted(other)):
        for low, high in itertools.pairwise(keys):
            found |= {(low + high) // 2, (low + high) // 2 + 1}
    return sorted(found)


def _differing(one: Blocks, other: Blocks, sharded: bool) -> tuple[set[int], set[int]]:
    """Returns the block_m, in each file, of what no server could look up in both and get the same."""
    found: tuple[set[int], set[int]] = set(), set()
    if list(one.items()) == list(other.items()):
        return found
    for shape in _shapes(one, other, sharded):
        of_one = _answers(one, shape, lambda k, there: sharded and there > 0 and k % there == 0)
        of_other = _answers(other, shape, lambda k, there: sharded and k > 0 and there % k == 0)
        if of_one.isdisjoint(of_other):
            found[0].update(of_one)
            found[1].update(of_other)
    return found


def _shapes(one: Blocks, other: Blocks, sharded: bool) -> Iterator[Shape]:
    """Returns those of the keys, and those between, unless the k differ, which may be those of fully sharded
    servers."""
    yield from one | other
    if not (one and other) or (sharded and _keys(one, ()) != _keys(other, ())):
        return
    for k in _probes(_keys(one, ()), _keys(other, ())):
        for n in _probes(_keys(one, (k,)), _keys(other, (k,))):
            for i in _probes(_keys(one, (k, n)), _keys(other, (k, n))):
                yield k, n, i


def _answers(blocks: Blocks, shape: Shape, partners: Callable[[int, int], bool]) -> set[int]:
    """Returns the block_m for one entry of the other file: of the same shape, or of what may be the same to a sharded
    server.

    Args:
        partners: Whether fully sharded servers may look up this other k together with the shape's: in w13 they look up
            a fraction of w2's (contracts A7). Which fraction no file tells.
    """
    if not blocks:
        return {DEFAULT}
    if shape in blocks:
        return {blocks[shape]}
    if found := {b for (k, n, i), b in blocks.items() if (n, i) == shape[1:] and partners(shape[0], k)}:
        return found
    return {blocks[_taken(blocks, shape)[0]]}


def _keys(blocks: Blocks, wanted: tuple[int, ...]) -> list[int]:
    """Returns the keys of the next level, once so many have been looked up."""
    return list(dict.fromkeys(shape[len(wanted)] for shape in _taken(blocks, wanted)))


def _taken(blocks: Blocks, wanted: tuple[int, ...]) -> list[Shape]:
    """Returns what a lookup of the first levels leaves."""
    left = list(blocks)
    for level, number in enumerate(wanted):
        near = _nearest((shape[level] for shape in left), number)
        left = [shape for shape in left if shape[level] == near]
    return left


def _nearest(numbers: Iterable[int], wanted: int) -> int:
    """Returns the key of least distance, the first of a tie."""
    return min(numbers, key=lambda number: abs(number - wanted))


def _table(walk: Walk) -> Table:
    made: Table = {}
    for (loras, slices, m, *shape), content in walk.leaves.items():
        config, _, _ = moe.launched(content, facts.MOE_OPS[0])
        block_m = (config or {}).get("block_m")
        k, n, i = map(int, shape)
        blocks = made.setdefault(int(loras), {}).setdefault(slices, {}).setdefault(int(m), {})
        blocks[k, n, i] = block_m if isinstance(block_m, int) else DEFAULT
    return made


def _defaults(table: Table, sharded: bool) -> Table:
    """Returns, in place of a missing file, its partner's keys, without entries."""
    return {
        loras: {s: {m: {} for m in ms} for s, ms in list(by_slices.items())[: 1 if sharded else None]}
        for loras, by_slices in table.items()
    }
