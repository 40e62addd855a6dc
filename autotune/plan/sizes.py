"""The token counts worth tuning: a server's CUDA-graph sizes, thinned to a ladder, and prefill sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from autotune.servers.lookup import nearest

MAX_CAPTURE = 512
DEFAULT_MAX_NUM_SEQS = 256
DEFAULT_MAX_NUM_BATCHED_TOKENS = 8192
_LADDER = (1, 4, 16, 32, 64, 128, 256, 512)
"""Between two of these the nearest one is at most half as large again; an m right between goes to the lower, which
stands first in the file. Below 16 tokens every block has 16 rows, so a coarser step will do."""

LEAST_SHARE = 0.005
"""Of the traffic: what looks less up keeps the default, unless it is asked for."""

_OWN_KEY_SHARE = 0.1


def capture_sizes(max_num_seqs: int, max_num_batched_tokens: int) -> tuple[int, ...]:
    """The token counts that vLLM captures CUDA graphs for (contracts A7): in decode, m is always one of them."""
    largest = min(2 * max_num_seqs, MAX_CAPTURE, max_num_batched_tokens)
    sizes = [1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, 16)]
    return tuple(size for size in sizes if size <= largest)


def prefill_sizes(smallest: int, max_num_batched_tokens: int) -> tuple[int, ...]:
    """Powers of two beyond the captured sizes, and the largest batch itself."""
    powers = [1 << exponent for exponent in range(max_num_batched_tokens.bit_length())]
    return tuple(sorted({*(power for power in powers if power > smallest), max_num_batched_tokens} - {smallest}))


def auto_m_values(max_num_seqs: int, max_num_batched_tokens: int) -> tuple[int, ...]:
    """Token counts to tune before anything was measured, ascending."""
    captured = capture_sizes(max_num_seqs, max_num_batched_tokens)
    ladder = [m for m in _LADDER if m in captured]
    return tuple(sorted({*ladder, captured[-1], *prefill_sizes(captured[-1], max_num_batched_tokens)}))


def padded(tokens: int, captured: Sequence[int]) -> int:
    """The rows a batch of so many tokens runs with: up to the largest captured size it is padded to the next."""
    return next((size for size in captured if size >= tokens), tokens)


def own_keys(traffic: Mapping[int, float], captured: Sequence[int]) -> set[int]:
    """The m with so much of the traffic that no other's config should serve them."""
    rows = _rows(traffic, captured)
    return {m for m, weight in rows.items() if weight >= _OWN_KEY_SHARE * sum(rows.values())}


def weigh(m_values: Iterable[int], traffic: Mapping[int, float], captured: Sequence[int]) -> dict[int, float]:
    """What share of the traffic looks each m up, in files that hold these."""
    rows = _rows(traffic, captured)
    shares = dict.fromkeys(sorted(m_values), 0.0)
    for m, weight in rows.items():
        shares[nearest(shares, m)] += weight / sum(rows.values())
    return shares


def _rows(traffic: Mapping[int, float], captured: Sequence[int]) -> dict[int, float]:
    rows: dict[int, float] = {}
    for tokens, weight in traffic.items():
        rows[padded(tokens, captured)] = rows.get(padded(tokens, captured), 0.0) + weight
    return rows
