"""An engine that measures nothing, which `bench serve` runs in place of a server's own."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.builders import fake_engine_process
from tests.builders.fake_engine_process import FOLDER_VARIABLE


class FakeEngine:
    package = "click"
    folder_variable = FOLDER_VARIABLE

    def command(self, job: Path, result: Path) -> list[str]:
        # Isolated and without site-packages: it starts in a fraction of the time.
        return [sys.executable, "-I", "-S", fake_engine_process.__file__, str(job), str(result)]

    def folder_read(self, log: str) -> set[Path]:
        return {Path(line.removeprefix("read ")) for line in log.splitlines() if line.startswith("read ")}

    def why_it_ended(self, log: str) -> str | None:
        return "not enough memory" if "out of memory" in log else None

    def plugin_installed(self) -> bool:
        return True

    def recorder_said(self, log: str) -> str | None:
        return next((line for line in log.splitlines() if "recorded" in line), None)

    def plugin_said(self, log: str) -> str | None:
        return next((line.removeprefix("ours ") for line in log.splitlines() if line.startswith("ours ")), None)
