"""Writes the figures of a search benchmark as text, for a terminal and for `docs/searching.md`."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.bench.outcome import Spread
from autotune.bench.score import Row, Score

_MORE = ("to 5%", "to 1%", "repeated", "infeasible", "think ms", "stop: p95 % @ evals")


def markdown(scores: Sequence[Score], budgets: Sequence[int]) -> str:
    """Returns one row for each space and sampler; regrets in percent, median / 95th percentile over the seeds."""
    head = ["space (configs)", "sampler", *_after(budgets), *_MORE]
    return aligned([head, *(_cells(score, budgets) for score in scores)])


def summary(scores: Sequence[Score], budgets: Sequence[int]) -> str:
    """Returns one row for each sampler, over all spaces: every space counts the same."""
    rows = [["sampler", *_after(budgets), "repeated", "infeasible", "think ms"]]
    for name in dict.fromkeys(score.sampler for score in scores):
        own = [score for score in scores if score.sampler == name]
        spreads = [Spread.pooled([score.spread(budget) for score in own]) for budget in budgets]
        last = [score.row(budgets[-1]) for score in own]
        totals = [str(sum(row.repeated for row in last)), str(sum(row.infeasible for row in last))]
        think_ms = sum(row.think_ms for row in last) / len(last)
        rows.append([name, *(_percent(spread) for spread in spreads), *totals, f"{think_ms:.1f}"])
    return aligned(rows)


def _after(budgets: Sequence[int]) -> list[str]:
    return [f"after {budget}" for budget in budgets]


def _percent(spread: Spread) -> str:
    return f"{100 * spread.median:.2f} / {100 * spread.quantile(0.95):.2f}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Formats a Markdown table of these cells, the headings first."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]])


def _cells(score: Score, budgets: Sequence[int]) -> list[str]:
    last = score.row(budgets[-1])
    return [
        f"{last.space} ({last.configs})",
        last.sampler,
        *(_percent(score.spread(budget)) for budget in budgets),
        _count(last.evals_to_5pct),
        _count(last.evals_to_1pct),
        str(last.repeated),
        str(last.infeasible),
        f"{last.think_ms:.1f}",
        _stop(last),
    ]


def _stop(row: Row) -> str:
    """Returns what the stop rule left, and after how many evaluations; blank where it ended no search."""
    if row.regret_at_stop is None or row.evals_at_stop is None:
        return ""
    return f"{100 * row.regret_at_stop:.2f} @ {row.evals_at_stop:.0f}"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
