"""The linter of config files: what is wrong with anybody's files, and what a server that reads them would do."""

from __future__ import annotations

from pathlib import Path

from autotune.config import plan_lookups as lookups
from autotune.errors import InputError
from autotune.plan.plan import Plan
from autotune.servers.finding import Finding
from autotune.servers.sglang import check_folder as sglang
from autotune.servers.vllm import check_folder as vllm

__all__ = ["Finding", "check"]


def check(
    directory: Path, server: str, plan: Plan | None = None, max_chunk: int | None = None
) -> tuple[list[Finding], int]:
    """Returns what is wrong with the files in a server's config folder, by file and place, and how many files there
    are.

    Args:
        plan: Of the model to be served: adds what its lookups come to, and leaves out what its server never reads.
        max_chunk: The SGLang server's ``--max-lora-chunk-size``, if known.

    Raises:
        InputError: If the folder cannot be read.
    """
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder; give the server's config folder")
    found, files = sglang.check(directory, max_chunk) if server == "sglang" else vllm.check(directory, plan)
    if not files and not found:
        message = f"holds no LoRA file that a {server} server reads: it takes its defaults; give its config folder"
        found.append(Finding(".", (), "no files", "slower", message))
    if plan is not None:
        found += lookups.check(directory, plan)
    return sorted(set(found), key=lambda finding: finding.order), files
