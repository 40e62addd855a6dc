"""Tells whose kernel the entries of anybody's config files were timed on, and whether it is the one installed here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from autotune.contract import registry, source
from autotune.environment import installed_version
from autotune.errors import InputError
from autotune.servers import places
from autotune.servers.finding import Finding
from autotune.servers.timed_as import TimedAs, timed_in


def kernels_of(directory: Path) -> dict[str, list[TimedAs]]:
    """Returns what each file in an output folder that a side-car knows was timed on, by its name in the folder.

    A side-car that cannot be read tells nothing, and hides nothing that the other one tells: `config check` says what
    is wrong with it, and no server reads it.
    """
    found: dict[str, list[TimedAs]] = {}
    for folder in places.folders(directory):
        with suppress(InputError):
            found |= timed_in(folder, directory)
    return found


def of_other_kernels(directory: Path) -> Iterator[Finding]:
    """Finds files that were timed on another release of a server's kernel, or by another Triton, than is installed
    here; one finding a file and reason."""
    for file, timed in kernels_of(directory).items():
        for message in dict.fromkeys(message for each in timed if (message := _other(each))):
            yield Finding(file, ("*",), "another kernel", "slower", message)


def _other(timed: TimedAs) -> str | None:
    """Says in what the installed server's kernel differs from what was timed; None if in nothing, or none is here."""
    name, server, _ = source.split(timed.kernel)
    package = registry.served_package(name, server) if server != source.BUILTIN else None
    try:
        origin = package.origin() if package else None
    except InputError:
        return None
    if origin is None or not timed.source_hash:
        return None
    here = installed_version("triton")
    if origin.source_hash != timed.source_hash:
        return (
            f"was timed on a {timed}, and {origin} is installed here, whose kernel has sources {origin.source_hash}: "
            "it may rank configs otherwise; tune with it, then export over these"
        )
    if timed.triton and here and timed.triton != here:
        return (
            f"was timed with Triton {timed.triton}, and {origin} here runs on Triton {here}, which may rank configs "
            "otherwise; tune with it, then export over these"
        )
    return None
