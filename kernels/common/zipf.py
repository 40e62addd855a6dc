"""How ragged loads are: popularity falls as 1/rank, as that of a multi-adapter server's adapters does."""

from __future__ import annotations

import itertools


def zipf_split(total: int, parts: int) -> tuple[int, ...]:
    """Splits `total` into `parts` positive integers in proportion to 1, 1/2, 1/3, ..."""
    edges = list(itertools.accumulate(1 / n for n in range(1, parts + 1)))
    ends = [0, *(round(edge / edges[-1] * (total - parts)) for edge in edges)]
    return tuple(1 + end - start for start, end in itertools.pairwise(ends))
