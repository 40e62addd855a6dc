"""``config`` checks, looks up and compares the files that servers load. Only ``diff --measure`` needs a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autotune import api, servers
from autotune.cli.diff_output import measured, show_differences, show_outcomes
from autotune.cli.flags.assumptions import AssumptionFlags
from autotune.cli.flags.command import FlagCommand, takes_flags
from autotune.cli.flags.lookup import LookupFlags
from autotune.cli.flags.model import PlanFlags
from autotune.cli.flags.types import FilePath
from autotune.cli.messages import tell
from autotune.config.check import check_folder
from autotune.config.diff import Difference, differences
from autotune.config.kernels import kernels_of
from autotune.config.sides import ComparedSide, what_to_mind
from autotune.contract import Config
from autotune.errors import InputError
from autotune.plan.plan import DEFAULT_DTYPE
from autotune.report.tables import config_text, show, table
from autotune.servers import Lookup, stand_back
from autotune.servers.places import may_stand_back
from autotune.servers.timed_as import TimedAs, told
from autotune.untrusted.json_text import json_text
from autotune.untrusted.printing import say


@click.group()
def config() -> None:
    """Check, look up and compare the files that servers load."""


@config.command("check", cls=FlagCommand, short_help="Find what is wrong with config files.")
@takes_flags
@click.argument("directory", type=FilePath())
def check(
    directory: Path,
    serving: PlanFlags,
    model: str | None = None,
    dtype: str | None = None,
    as_json: bool = False,
) -> None:
    """Find what is wrong with config files, whoever wrote them, and what a server would do.

    Results of the built-in kernels, in its autotune/, are checked as well. Exit code 1 if anything is found.

    \b
    Example:
      python -m autotune config check tuned --runtime vllm
      python -m autotune config check tuned --runtime vllm \\
          --model Qwen3-8B --lora-rank 16 --max-loras 4
    """
    if model is None and serving.trace is None:
        serving.refuse("--model", but=("server", "max_lora_chunk_size"))
        if dtype is not None:
            raise InputError("--dtype: is about a model's plan, and no --model is given; leave it out")
    plan = serving.planned(model, dtype or DEFAULT_DTYPE, "--model")
    server = plan.serving.server if plan else serving.named_server()
    findings, files = check_folder(directory, server, plan, serving.max_lora_chunk_size)
    kernels = kernels_of(directory)
    if as_json:
        say(json_text([{**found.to_json(), **_kernel_json(kernels.get(found.file))} for found in findings]))
    elif findings:
        rows = [(f.effect, f.file, "/".join(f.key), f"{f.defect}: {f.message}") for f in findings]
        show(table("", ("the server", "file", "at", "what"), rows))
    if not as_json:
        for file, timed in kernels.items():
            say(f"{file}: timed on: {told(timed)}")
        say(f"{_counted(files, 'file')}, {_counted(len(findings), 'finding')}.")
    click.get_current_context().exit(1 if findings else 0)


@config.command("lookup", cls=FlagCommand, short_help="Say what a server would use for one call.")
@takes_flags
@click.argument("directory", type=FilePath())
def lookup(directory: Path, wanted: LookupFlags, as_json: bool = False) -> None:
    """Say what a server would use for one call, and by which keys it gets there.

    A folder that holds results of the built-in kernels, too, in autotune/, is looked up in for both. Exit code 1 if a
    lookup fails.

    \b
    Example:
      python -m autotune config lookup tuned --runtime vllm --op shrink \\
          --max-loras 4 --num-slices 3 --m 24 --k 4096 --n 16
    """
    call = wanted.call()
    found = api.look_up(directory, call, wanted.gpu)
    builtin = api.look_up_builtin(directory, call, wanted.gpu)
    by_plug_in = may_stand_back(directory)
    if as_json:
        of_builtin = {"builtin": _lookup_json(builtin, directory, True)} if builtin else {}
        say(json_text({**_lookup_json(found, directory, by_plug_in), **of_builtin}))
    else:
        # What only the plug-in launches in the place of other calls, no kernel of the server's looks up.
        if not (builtin and servers.get(call.server).replaces(call)):
            if builtin:
                say("The server's own kernel:")
            _show_lookup(found, directory, by_plug_in)
        if builtin:
            say("This project's kernel, by its plug-in:")
            _show_lookup(builtin, directory, by_plug_in=True)
    click.get_current_context().exit(1 if found.failure or (builtin and builtin.failure) else 0)


@config.command("diff", cls=FlagCommand, short_help="List the entries in which files or folders differ.")
@takes_flags
@click.argument("a", type=FilePath())
@click.argument("b", type=FilePath())
def diff(
    a: Path,
    b: Path,
    flags: AssumptionFlags,
    server: str | None = None,
    measure: bool = False,
    exit_code: bool = False,
    as_json: bool = False,
) -> None:
    """List the entries in which two files, or two folders of files, differ.

    Files are known by their names; --runtime takes those of one server alone. Files of two kernels are named, and so
    are entries of zeros, by which the plug-in leaves a call to another kernel.

    With --measure both sides of each entry are timed side by side on this machine's GPU, as studies time their
    finalists; a side without the entry as what its server takes instead. A difference inside the noise is "same".

    \b
    Example:
      python -m autotune config diff tuned other
      python -m autotune config diff tuned other --measure \\
          --dtype bfloat16 --slice-widths 4096,1024,1024
    """
    assumptions = flags.read(measure)
    found = differences(a, b, server)
    outcomes = measured(found, (a, b), assumptions) if measure else []
    sides = ComparedSide.pair(a, b)
    if as_json:
        rows = [item.to_json() | _sides_json(item, sides) for item in found]
        if measure:
            rows = [outcome.to_json() | row for outcome, row in zip(outcomes, rows, strict=True)]
        say(json_text(rows))
    elif measure:
        show_outcomes(outcomes, sides)
    else:
        show_differences(found, sides)
    for line in what_to_mind((each.file for each in found), *sides):
        tell(f"Note: {line}.")
    if not as_json:
        say(f"{len(found)} entries differ.")
    click.get_current_context().exit(1 if found and exit_code else 0)


def _sides_json(found: Difference, sides: tuple[ComparedSide, ComparedSide]) -> dict[str, Any]:
    """Says of each side whose kernel its file was timed on, null where no side-car tells, and whether its entry is
    zeros, which leave the call to another kernel."""
    kernels = [_kernel_json(side.timed(found.file)) for side in sides]
    zeros = [
        side.meaning(found.file, entry) == stand_back.MEANING
        for side, entry in zip(sides, (found.a, found.b), strict=True)
    ]
    return {
        "kernels": dict(zip("ab", (each["kernel"] for each in kernels), strict=True)),
        "timed": dict(zip("ab", (each["timed"] for each in kernels), strict=True)),
        "left_to_another_kernel": dict(zip("ab", zeros, strict=True)),
    }


def _show_lookup(found: Lookup, directory: Path, by_plug_in: bool) -> None:
    """Shows one lookup.

    Args:
        by_plug_in: The server's plug-in does it: what stops a server is a default there, of a kernel of its own.
    """
    kernel = _kernel(found, directory)
    timed = f", timed on: {told(kernel)}" if kernel else ""
    say(f"file: {found.path}{timed if found.origin == 'file' else ' (not there, or empty)'}")
    for step in found.steps:
        ties = f"; just as near: {', '.join(step.ties)}, the first in the file is taken" if step.ties else ""
        empty = ", whose own object is empty" if step.skipped_empty else ""
        say(f"  {step.level} {step.wanted} -> {step.taken} ({step.match}{empty}{ties})")
    for warning in found.warnings:
        tell(f"Note: {warning}")
    if found.failure is not None:
        what = "the plug-in warns and runs its kernel's default" if by_plug_in else "the server fails"
        say(f"{what}: {found.failure.error} at {found.failure.level}: {found.failure.message}")
    elif by_plug_in and found.origin == "default":
        say("default: that of the plug-in's kernel, by the shape")
    elif found.config is not None:
        where = "built-in default" if found.origin == "default" else "config"
        say(f"{where}: {_words(found.config, by_plug_in)}")


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _words(config: Config, by_plug_in: bool) -> str:
    return stand_back.MEANING if by_plug_in and stand_back.is_one(config) else config_text(config)


def _kernel_json(timed: list[TimedAs] | None) -> dict[str, Any]:
    """Says whose kernel a file was timed on, and with what; null where no side-car tells."""
    sources = " and ".join(sorted({each.source for each in timed or ()}))
    return {"kernel": sources or None, "timed": [each.to_json() for each in timed] if timed else None}


def _kernel(found: Lookup, directory: Path) -> list[TimedAs] | None:
    """Returns what the file that a lookup found was timed on; None where no side-car tells."""
    if found.path is None or found.origin != "file":
        return None
    return kernels_of(directory).get(found.path.relative_to(directory).as_posix())


def _lookup_json(found: Lookup, directory: Path, by_plug_in: bool) -> dict[str, Any]:
    failure = found.failure
    return {
        "file": str(found.path),
        "origin": found.origin,
        **_kernel_json(_kernel(found, directory)),
        "steps": [
            {"level": s.level, "wanted": s.wanted, "taken": s.taken, "match": s.match, "ties": list(s.ties)}
            for s in found.steps
        ],
        # The default that a lookup knows is the server's; the plug-in's kernel has one of its own.
        "config": None if by_plug_in and found.origin == "default" else found.config,
        "failure": None if failure is None else vars(failure),
        "warnings": list(found.warnings),
    }
