"""Lints what an export builds on: values of anybody's entries are passed on only if kernels compile with them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from pathlib import Path

from autotune.errors import InputError
from autotune.export.file import ConfigFile
from autotune.servers import places
from autotune.servers.checking import Known
from autotune.untrusted.printing import shortened

_BAD_VALUE = "bad value"
"""The defect of a value that no kernel compiles with (`autotune.servers.finding.Finding`); others are warned of."""


def check_standing(files: Collection[ConfigFile], directory: Path) -> None:
    """Refuses to merge into files with values that no kernel compiles with.

    Raises:
        InputError: For the first such value.
    """
    known = Known(by_plug_in=places.may_stand_back(directory))
    by_server = {file.identity.server.name: file.identity.server for file in files}
    for server in by_server.values():
        standing = {file.name: file for file in files if file.identity.server.name == server.name and file.after.table}
        for file in standing.values():
            _check_numbers(file, directory)
        found, _ = server.checker.check(directory, known) if standing else ([], 0)
        for finding in found:
            if finding.file in standing and finding.defect == _BAD_VALUE:
                raise _refused(directory / finding.file, finding.key, finding.message)


def _check_numbers(file: ConfigFile, directory: Path) -> None:
    """Refuses NaN and infinities, which are no JSON, wherever they stand."""
    for key, config in file.after.table.items():
        for name, value in config.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise _refused(directory / file.name, (*key, name), f"got {shortened(value)}, allowed: JSON's numbers")


def _refused(path: Path, key: Iterable[str], problem: str) -> InputError:
    return InputError(
        f"{path}: at {'/'.join(key)}: {problem}; nothing was written: fix the file (config check lists all), or "
        "replace it (--on-exist overwrite)"
    )
