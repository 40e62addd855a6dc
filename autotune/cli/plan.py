"""``plan`` says what a server will look up for a model, and what tuning it takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

import click

from autotune import servers
from autotune.cli.completion import models
from autotune.cli.flags.command import FlagCommand, takes_flags
from autotune.cli.flags.model import PlanFlags
from autotune.contract.source import AUTO, BOTH, SERVED
from autotune.environment import driver_installed
from autotune.errors import InputError, one_of
from autotune.plan.by_source import left_to_server
from autotune.plan.plan import DEFAULT_DTYPE, LARGE_STUDY_S, SMALL_STUDY_S, Plan
from autotune.plan.timed import (
    TimedKernel,
    all_timed_kernels,
    refuse_unrunnable_experts,
    timed_lines,
    what_to_mind,
)
from autotune.plan.work import TuningWork, work_of
from autotune.report.tables import TextTable, show, table
from autotune.servers.shapes import Shape
from autotune.study.sources import refuse_unknown
from autotune.untrusted.printing import say


@click.command(cls=FlagCommand, short_help="List a model's lookups and what tuning them takes.")
@takes_flags
@click.argument("model", required=False, shell_complete=models)
def plan(
    model: str | None,
    serving: PlanFlags,
    dtype: str = DEFAULT_DTYPE,
    sources: str = AUTO,
    allow_unknown_server: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
) -> None:
    """List every lookup that a server makes for a model's LoRA layers, and the studies that tuning them takes.

    MODEL is a folder or its config.json, a preset (Qwen3-8B, Llama-3.1-8B, ...) or a Hugging Face id.

    \b
    Example:
      python -m autotune plan Qwen3-8B --runtime vllm --tp 2 \\
          --lora-rank 16 --max-loras 4
    The same flags then go to study create --plan MODEL, or tune --model MODEL.

    \b
    What a running server looked up, with its traffic's weights:
      LORA_AUTOTUNE_TRACE=trace.jsonl vllm serve MODEL
      python -m autotune plan --trace trace.jsonl
    """
    made = serving.planned(model, dtype, "MODEL")
    if made is None:
        raise InputError("MODEL: not given; pass a folder, preset or Hugging Face id, or --trace FILE")
    timed, work = all_timed_kernels(made, sources), work_of(made, sources)
    if sources in (SERVED, BOTH) and not allow_unknown_server:
        for kernel in timed:
            refuse_unknown(kernel.choice.origin, sources)
    refuse_unrunnable_experts(made, timed)
    if as_json:
        # Of a kernel that is timed of both sources the server's, which comes first, is told.
        of_kernels = {kernel.name: kernel.to_json() for kernel in reversed(timed)}
        say(json.dumps({**made.to_json(), **work.to_json(), "timed": of_kernels}, indent=2))
    else:
        show_plan(made, work, timed)
        for line in left_to_server(made, sources):
            say(f"Note: {line}.")
        if not driver_installed():
            say("No GPU here: this is what a machine with one times where the same packages are installed.")


def show_plan(made: Plan, work: TuningWork, timed: Iterable[TimedKernel], kept_as: str | None = None) -> None:
    """Prints a plan: a table for each file, then what it takes, whose kernels it times, and what to mind.

    Args:
        kept_as: The name that its studies have it by, a tag at its end; None where none are made.
    """
    say(f"{kept_as or made.name} ({made.model.origin})\n")
    show(*_tables(made))
    level = servers.get(made.serving.server).command_line.sizes
    say(f"\n{level}: {_weighed(made.sizes)}")
    if own := next((shape.shares for shape in made.shapes if shape.shares is not None), None):
        say(f"{level} of sampled rows: {_weighed(own)}")
    races = f" and {len(work.raced)} races" if work.raced else ""
    if races:
        say(f"Raced, the winners at the {level} beside and the default, two minutes at most: {one_of(made.raced)}")
    if others := [size for size in made.answered if size not in {*made.sizes, *(made.raced if races else ())}]:
        say(f"Besides them the files hold the server's default at {level}: {one_of(others)}")
    following = len(work.following)
    after = f", and up to {following} more as the server's own configs decide" if following else ""
    longer = "at large m" if level == "m" else "of several kinds of batches"
    say(
        f"{work.studies} studies{races}{after}, {_about(work.seconds)} on an H100 with 16 cores ({SMALL_STUDY_S:g} s "
        f"each, {LARGE_STUDY_S:g} s {longer})"
    )
    timed = list(timed)
    for line in timed_lines(timed):
        say(f"{line}.")
    for line in (*what_to_mind(timed), *made.warnings):
        say(f"Note: {line}.")
    for line in made.advice:
        say(f"Before tuning: {line}")


def _about(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"about {minutes} minute{'s' if minutes > 1 else ''}"


def _weighed(sizes: Mapping[int, float]) -> str:
    return ", ".join(f"{size} ({weight:.1%})" if weight != 1 else str(size) for size, weight in sizes.items())


def _tables(made: Plan) -> Iterator[TextTable]:
    by_file: dict[str, list[Shape]] = {}
    for shape in made.shapes:
        by_file.setdefault(servers.get(shape.server).command_line.file_of(shape), []).append(shape)
    for file, shapes in by_file.items():
        names = [name for name in shapes[0].dims if name not in ("add_inputs", "max_loras")]
        loras = shapes[0].dims.get("max_loras")
        title = f"{file}, max_loras key {loras}" if loras else file
        rows = [
            (*(shape.dims[name] for name in names), ", ".join(shape.layers), _tuned(shape, made)) for shape in shapes
        ]
        yield table(title, (*names, "layers", "tuned as"), rows)


def _tuned(shape: Shape, made: Plan) -> str:
    if shape.kernels:
        return ", ".join(shape.kernels)
    family = servers.get(shape.server).family(shape.op)
    of_family = (other.kernels for other in made.shapes if family and other.op in family.ops and other.kernels)
    return f"with {', '.join(group)}" if (group := next(of_family, ())) else "not tuned"
