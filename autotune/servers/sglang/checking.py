"""Checks files for SGLang: whose they are, and what its lookups of a model come to (contracts B1, B2)."""

from __future__ import annotations

from pathlib import Path

from autotune.servers.checking import Checker, Known, Miss, Reader
from autotune.servers.finding import Finding
from autotune.servers.lookup import Step
from autotune.servers.sglang import check_folder, facts


class SglangChecker(Checker):
    """What is wrong with SGLang's files."""

    def readers(self, directory: Path) -> list[Reader]:
        found: dict[Reader, None] = {}
        for path in sorted(directory.glob(f"{facts.ROOT}/triton_*/*.json")):
            if match := facts.FILE.fullmatch(path.name):
                found[Reader(match["device"], facts.version_of(path.parent.name))] = None
        return list(found)

    def check(self, directory: Path, known: Known) -> tuple[list[Finding], int]:
        return check_folder.check(directory, known)

    def miss(self, step: Step) -> Miss | None:
        if step.level not in facts.LEVELS:
            return None
        message = f"looks up chunk size {step.wanted} and takes the entry of {step.taken}; add its own"
        return Miss("another chunk size", "slower", message)
