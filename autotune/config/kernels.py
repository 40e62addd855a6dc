"""Whose kernel the entries of anybody's config files were timed on, as far as a side-car tells."""

from __future__ import annotations

from pathlib import Path

from autotune.errors import InputError
from autotune.servers import places


def kernels_of(directory: Path) -> dict[str, str]:
    """Returns the kernel of each file in an output folder that a side-car knows, by its name in the folder."""
    try:
        return places.sources(directory)
    except InputError:
        return {}  # `config check` says what is wrong with the side-car; a server does not read it.
