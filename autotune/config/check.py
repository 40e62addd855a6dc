"""The linter of config files: what is wrong with anybody's files, and what a server that reads them would do."""

from __future__ import annotations

from pathlib import Path

from autotune import servers
from autotune.config.plan_lookups import check_lookups
from autotune.errors import InputError
from autotune.plan.plan import Plan
from autotune.servers.checking import Known
from autotune.servers.finding import Finding


def check_folder(
    directory: Path, server: str, plan: Plan | None = None, max_chunk: int | None = None
) -> tuple[list[Finding], int]:
    """Finds what is wrong with the files in a server's config folder, by file and place, and counts the files.

    Args:
        plan: Of the model to be served: adds what its lookups come to, and leaves out what its server never reads.
        max_chunk: The server's ``--max-lora-chunk-size``, if it has that flag and it is known.

    Raises:
        InputError: If the folder cannot be read.
    """
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder; give the server's config folder")
    known = Known(plan.serving, plan.shapes, max_chunk) if plan else Known(max_chunk=max_chunk)
    found, files = servers.get(server).checker.check(directory, known)
    if not files and not found:
        message = f"holds no LoRA file that a {server} server reads: it takes its defaults; give its config folder"
        found.append(Finding(".", (), "no files", "slower", message))
    if plan is not None:
        found += check_lookups(directory, plan)
    return sorted(set(found), key=lambda finding: finding.order), files
