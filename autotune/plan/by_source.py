"""Tells what of a plan is tuned on the kernels of which source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune.contract.source import AUTO, BOTH, BUILTIN, SERVED
from autotune.plan.plan import Entry, Plan
from autotune.servers.plugin import switch


def sources_of(wanted: str) -> tuple[str, ...]:
    """Returns the sources that the studies of a plan are made of, the server's own first: the plug-in's kernels are
    tuned as well where it is switched on.

    Args:
        wanted: One of `autotune.contract.source.SOURCES`, or `autotune.contract.source.BOTH`.
    """
    if wanted == BOTH:
        return SERVED, BUILTIN
    if wanted == AUTO and switch.read().families:
        return AUTO, BUILTIN
    return (wanted,)


@dataclass(frozen=True)
class SourceEntries:
    """What of a plan is tuned on the kernels of one source.

    Attributes:
        searched: What studies search.
        raced: What studies only race.
        in_one_launch: What the plug-in launches for several lookups at once (`Plan.in_one_launch`).
        replacements: What it launches once the server's own config is known (`Plan.replacements`).
    """

    searched: Sequence[Entry]
    raced: Sequence[Entry]
    in_one_launch: Sequence[Entry] = ()
    replacements: Sequence[Entry] = ()


def entries_of(plan: Plan, source: str) -> SourceEntries:
    """Returns what is tuned of one source (`sources_of`): where the built-in kernels are asked for, those that the
    plug-in launches."""
    if source != BUILTIN:
        return SourceEntries(plan.entries, plan.races)
    searched, raced = map(plan.launched_by_plugin, (plan.entries, plan.races))
    return SourceEntries(searched, raced, plan.in_one_launch, plan.replacements)


def left_to_server(plan: Plan, wanted: str) -> list[str]:
    """Says what of a plan is not tuned for lack of a kernel of ours that the plug-in launches, where no other is asked
    for; one line for a kernel."""
    if sources_of(wanted) != (BUILTIN,):
        return []
    return [
        f"{kernel}: not tuned, since the plug-in leaves it to the server's own kernels; tune these with "
        f"--source {SERVED}, or {BOTH}"
        for kernel in dict.fromkeys(entry.kernel for entry in plan.left_to_server)
    ]
