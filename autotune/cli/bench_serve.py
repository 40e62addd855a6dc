"""``bench serve`` measures what a folder of configs is worth on the server's own clock."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from autotune import servers
from autotune.bench import rounds, serve, serve_output
from autotune.bench.serve import ServeOptions
from autotune.bench.serve_output import ServeReport
from autotune.cli.completion import models
from autotune.cli.flags.command import FlagCommand, takes_flags, worded
from autotune.cli.flags.model import overrides_of, rank_of
from autotune.cli.messages import tell
from autotune.errors import InputError
from autotune.report.tables import show
from autotune.untrusted.printing import cell, say


@dataclass(frozen=True)
class ServeFlags:
    """The flags of `bench serve`."""

    max_loras: int
    folder: Path | None = None
    serve_command: str | None = None
    server: str | None = worded("The server whose engine is run.  [default: the first that can be]", default=None)
    lora_rank: int | None = None
    tp: int = worded("Tensor-parallel size; only 1 can be timed yet.", default=1)
    adapters: int | None = None
    lora_paths: tuple[Path, ...] = worded("Folder of an adapter to use; repeatable.", default=())
    overrides: tuple[str, ...] = ()
    decode: tuple[int, ...] = ServeOptions.decode
    prefill: str = "8x1024"
    rounds: int = ServeOptions.rounds
    variants: tuple[str, ...] = ()
    engine_timeout: float = serve.ENGINE_TIMEOUT_S

    def options(self, model: str, server: str) -> ServeOptions:
        """Returns what is asked for of a server.

        Raises:
            InputError: If a flag is missing, or not spelled as it must be.
        """
        if self.tp > 1:
            raise InputError(f"--tp: got {self.tp}, allowed: 1; the engine is timed on one GPU, and not sharded yet")
        return ServeOptions(
            model=model,
            folder=self.folder,
            rank=rank_of(self.lora_rank, self.lora_paths, server),
            max_loras=self.max_loras,
            adapters=self.adapters or self.max_loras,
            lora_paths=self.lora_paths,
            overrides=overrides_of(self.overrides),
            decode=self.decode,
            prefill=serve.parse_prefill(self.prefill),
            rounds=self.rounds,
            further=serve.parse_variants(self.variants),
            timeout_s=self.engine_timeout,
        )


@click.command("serve", cls=FlagCommand, short_help="Time the server's own engine with and without a folder.")
@takes_flags
@click.argument("model", shell_complete=models)
def bench_serve(model: str, flags: ServeFlags, html: Path | None = None, as_json: bool = False) -> None:
    """Time the server's own engine with and without a folder of configs.

    Starts the installed engine once a round for each variant: A without a folder, B with it, D with the plug-in and
    the folder's autotune/, C with LoRA on that no request uses, N with LoRA off; further ones by --variant. B and D
    run where the folder has files for them. What counts is milliseconds above N. Each process has to show that it is
    what its variant says, by its log and a short profile. Rounds are stored as they end: the same command goes on
    where it was.

    \b
    Example:
      python -m autotune bench serve Qwen3-8B --dir tuned \\
          --lora-rank 16 --max-loras 4
    """
    server = flags.server or next(name for name in servers.names() if servers.get(name).engine())
    run = serve.prepare(flags.options(model, server), servers.get(server))
    finished = rounds.run(run, tell)
    report = serve_output.report(run, finished, model)
    if as_json:
        say(json.dumps(report.json, indent=2))
    else:
        show_report(report)
    if html is not None:
        _write_html(html, report)


def show_report(report: ServeReport) -> None:
    """Prints the tables of a run, and what to know."""
    show(*report.tables)
    for line in report.lines:
        say(line)


def _write_html(file: Path, report: ServeReport) -> None:
    console = Console(record=True, file=io.StringIO(), width=160)
    for each in report.tables:
        console.print(*map(cell, each.lines), sep="\n")
    console.print(*map(cell, report.lines), sep="\n")
    try:
        console.save_html(str(file))
    except OSError as error:
        raise InputError(f"--html: cannot write {file} ({error.strerror}); name another file") from error
