"""Lists the token counts worth tuning for vLLM: its CUDA-graph sizes, thinned to a ladder, and prefill sizes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

from autotune.errors import InputError, one_of
from autotune.servers.batches import Batches, BatchSizes
from autotune.servers.lookup import nearest
from autotune.servers.vllm.captures import captured_by, padded

_LADDER = (1, 4, 16, 32, 64, 128, 256, 512)
"""Between two of these the nearest one is at most half as large again; an m right between goes to the lower, which
stands first in the file. Below 16 tokens every block has 16 rows, so a coarser step will do."""

LEAST_SHARE = 0.005
"""Of the traffic: an m that is looked up less keeps the default, unless it is asked for."""

_OWN_KEY_SHARE = 0.1

_FAR = 1.5


def sizes(batches: Batches) -> BatchSizes:
    """Finds the m to tune and their weights. An m that is asked for is tuned, whoever looks it up.

    Raises:
        InputError: If flags contradict each other.
    """
    _check(batches)
    captured, wanted = captured_by(batches), batches.m_values
    automatic = auto_m_values(captured, batches.max_num_batched_tokens)
    if not batches.traffic:
        asked = sorted(wanted or automatic)
        return BatchSizes(automatic, dict.fromkeys(asked, 1.0), raced_m(asked, automatic, captured))
    graphs = () if batches.enforce_eager else captured
    shares = weigh({*automatic, *(wanted or own_keys(batches.traffic, graphs))}, batches.traffic, graphs)
    tuned = {m: share for m, share in shares.items() if (m in wanted if wanted else share >= LEAST_SHARE)}
    return BatchSizes(
        automatic, tuned, tuple(m for m in raced_m(tuned, (), captured) if m in rows_of(batches.traffic, graphs))
    )


def raced_m(tuned: Iterable[int], automatic: Iterable[int], captured: Sequence[int]) -> tuple[int, ...]:
    """Returns the m to race between the tuned ones: the automatic ones, and a captured one wherever the next is farther
    than `_FAR` times. What is captured besides is near enough to one of these to take its entry."""
    known = {*tuned, *automatic}
    between = set()
    for low, high in itertools.pairwise(sorted(known)):
        inside = [m for m in captured if low < m < high]
        if inside and high > _FAR * low:
            between.add(min(inside, key=lambda m: abs(math.log(m * m / (low * high)))))
    return tuple(sorted((known | between) - set(tuned)))


def prefill_sizes(smallest: int, max_num_batched_tokens: int) -> tuple[int, ...]:
    """Returns the powers of two beyond the captured sizes, and the largest batch itself."""
    powers = [1 << exponent for exponent in range(max_num_batched_tokens.bit_length())]
    return tuple(sorted({*(power for power in powers if power > smallest), max_num_batched_tokens} - {smallest}))


def auto_m_values(captured: Sequence[int], max_num_batched_tokens: int) -> tuple[int, ...]:
    """Returns the token counts to tune before anything was measured, ascending: of the captured ones those that a
    ladder's batches are padded to, and beyond them."""
    ladder = {padded(m, captured) for m in _LADDER if m <= captured[-1]}
    return tuple(sorted({*ladder, captured[-1], *prefill_sizes(captured[-1], max_num_batched_tokens)}))


def own_keys(traffic: Mapping[int, float], captured: Sequence[int]) -> set[int]:
    """Returns the m with so much of the traffic that no other's config should serve them."""
    rows = rows_of(traffic, captured)
    return {m for m, weight in rows.items() if weight >= _OWN_KEY_SHARE * sum(rows.values())}


def weigh(m_values: Iterable[int], traffic: Mapping[int, float], captured: Sequence[int]) -> dict[int, float]:
    """Returns what share of the traffic looks each m up, in files that hold these."""
    rows = rows_of(traffic, captured)
    shares = dict.fromkeys(sorted(m_values), 0.0)
    for m, weight in rows.items():
        shares[nearest(shares, m)] += weight / sum(rows.values())
    return shares


def rows_of(traffic: Mapping[int, float], captured: Sequence[int]) -> dict[int, float]:
    """Returns the weight of each m that batches run with, padded as graphs are."""
    rows: dict[int, float] = {}
    for tokens, weight in traffic.items():
        rows[padded(tokens, captured)] = rows.get(padded(tokens, captured), 0.0) + weight
    return rows


def _check(batches: Batches) -> None:
    if batches.max_num_seqs > batches.max_num_batched_tokens:
        raise InputError(
            f"--max-num-seqs: got {batches.max_num_seqs}, more than --max-num-batched-tokens "
            f"{batches.max_num_batched_tokens}, with which vLLM does not start; lower it"
        )
    for flag, tokens in (("--m-values", batches.m_values), ("--traffic", batches.traffic)):
        if beyond := [each for each in tokens if each > batches.max_num_batched_tokens]:
            raise InputError(
                f"{flag}: got {one_of(beyond)}, more than --max-num-batched-tokens {batches.max_num_batched_tokens}; "
                "no batch is that large"
            )
