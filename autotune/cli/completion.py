"""Lists what a shell offers for names: studies and plans of the storage, models."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autotune.errors import AutotuneError
from autotune.paths import DEFAULT_STORAGE_URL

if TYPE_CHECKING:
    from autotune.study.overview import Overview


def study_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offers the studies of the storage that the line so far, or the environment, names."""
    return _offered(ctx, incomplete, lambda found: list(found.ours))


def plan_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offers the plans of the storage."""
    return _offered(ctx, incomplete, lambda found: found.plans)


def models(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offers presets, and folders that have a ``config.json``."""
    from autotune.model.sources import presets

    parent = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    folders = [str(file.parent) for file in parent.glob("*/config.json")] if parent.is_dir() else []
    return [name for name in (*presets(), *sorted(folders)) if name.startswith(incomplete)]


def _offered(ctx: click.Context, incomplete: str, names: Callable[[Overview], list[str]]) -> list[str]:
    from autotune.study import overview  # here, because only a completion needs it

    url = ctx.params.get("storage") or os.environ.get("AUTOTUNE_STORAGE") or DEFAULT_STORAGE_URL
    try:
        return [name for name in names(overview.of(url)) if name.startswith(incomplete)]
    except AutotuneError:
        return []  # A shell has no place for errors; the command itself tells them.
