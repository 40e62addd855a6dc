"""``bench`` groups commands that are modules of their own."""

from __future__ import annotations

import click

from autotune.cli.lazy import LazyCommand, LazyGroup

_COMMANDS = {
    "search": LazyCommand("bench_search", "search", "Replay recorded spaces and compare searches."),
    "serve": LazyCommand("bench_serve", "bench_serve", "Time the server's own engine with and without a folder."),
    "sweep": LazyCommand("bench_sweep", "sweep", "Search and sweep a space on this GPU: time saved, regret."),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS)
def bench() -> None:
    """Compare searches, and a server with and without a folder."""
