"""``tune --prove`` runs one round of the server's own engine with the files that were written, and keeps it beside
them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autotune import servers
from autotune.bench import rounds, serve, serve_output
from autotune.bench.serve import ServeOptions
from autotune.cli.bench_serve import show_report
from autotune.cli.flags.model import overrides_of
from autotune.cli.messages import tell
from autotune.errors import InputError
from autotune.plan.plan import Plan
from autotune.servers import Server, provenance
from autotune.servers.files import write_all
from autotune.untrusted.printing import say


@dataclass(frozen=True)
class EngineRound:
    """One process of the server's engine for each variant, to be run on a folder."""

    server: Server
    options: ServeOptions

    @classmethod
    def of(cls, model: str, plan: Plan, lora_paths: tuple[Path, ...], overrides: tuple[str, ...]) -> EngineRound:
        """Returns the round of a planned model, once it is known that the engine can be run for it.

        Raises:
            InputError: If it cannot; nothing has been tuned.
        """
        serving = plan.serving
        if serving.tp > 1:
            raise InputError(
                f"--prove: got --tp {serving.tp}, allowed: 1; the engine is timed on one GPU; leave it out"
            )
        adapters = lora_paths[: serving.max_loras]
        options = ServeOptions(
            model=model,
            folder=None,
            rank=serving.rank,
            max_loras=serving.max_loras,
            adapters=serving.max_loras,
            lora_paths=adapters,
            overrides=overrides_of(overrides),
            rounds=1,
        )
        server = servers.get(serving.server)
        serve.prepare(options, server)
        return cls(server, options)

    def run(self, directory: Path) -> None:
        """Runs the round, prints what it came to, and writes that beside the files."""
        run = serve.prepare(replace(self.options, folder=directory), self.server)
        finished = rounds.run(run, tell)
        report = serve_output.report(run, finished, self.options.model)
        show_report(report)
        say(f"Kept in {_write(directory, report.json)}, which no server reads.")


def _write(directory: Path, content: Mapping[str, Any]) -> Path:
    path = directory / provenance.PROOF_NAME
    write_all({path: json.dumps(content, indent=2) + "\n"})
    return path
