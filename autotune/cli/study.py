"""``study``: create, run, list, show, best, export, delete."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import click

from autotune import api
from autotune.cli.export_output import export_studies
from autotune.cli.flags.command import FlagCommand, names_of, takes_flags
from autotune.cli.flags.model import PlanFlags
from autotune.cli.flags.problem import ProblemFlags
from autotune.cli.flags.run import MakingFlags, RunFlags
from autotune.cli.running import load_ahead, run_studies, say_advice, show_results
from autotune.contract import registry
from autotune.errors import InputError
from autotune.export.file import OnExist
from autotune.plan.plan import DEFAULT_DTYPE
from autotune.report import results
from autotune.report.listing import listing, state_of
from autotune.report.note import study_note
from autotune.report.tables import config_text, show, table, us
from autotune.report.trials import trial_rows
from autotune.study import studies
from autotune.study.serving_notes import serving_notes
from autotune.study.storage import DEFAULT_URL, open_storage
from autotune.untrusted.printing import printable, say


@dataclass(frozen=True)
class ExportFlags:
    """The flags of `study export`."""

    directory: Path
    plan_name: str | None = None
    on_exist: OnExist = "merge"
    csv: Path | None = None
    of_server: str | None = None
    all_m: bool = False
    as_json: bool = False


@click.group()
def study() -> None:
    """Create, run, read and export studies: one per kernel shape."""


@study.command(cls=FlagCommand)
@takes_flags
def create(
    problem: ProblemFlags,
    serving: PlanFlags,
    making: MakingFlags,
    plan_model: str | None = None,
    dtype: str = DEFAULT_DTYPE,
    skip_if_exists: bool = False,
    as_json: bool = False,
) -> None:
    """Create a study for each token count, or chunk size, of a problem.

    Prints their names, which all other commands take.

    \b
    Example:
      python -m autotune study create --op-type lora_shrink --m-values 1,16,64 \\
          --hidden-size 5120 --lora-rank 16 --num-loras 4
      python -m autotune study create --runtime sglang --op-type shrink \\
          --chunk-sizes 16,128 --hidden-size 1024 --lora-rank 64 --num-slices 3
      python -m autotune study create --plan Qwen3-8B --runtime vllm \\
          --lora-rank 16 --max-loras 4
    """
    if plan_model is not None:
        serving.refuse_problem("--plan", problem)
        wanted = api.of_plan(serving.plan(plan_model, dtype), making.request())
    else:
        serving.refuse("--plan", but=names_of(ProblemFlags))
        wanted = api.of_problems(problem.read().with_sizes({}, problem.topk_ids), making.request())
    storage = open_storage(making.storage, create=True)
    names = wanted.create(storage, skip_if_exists)
    if wanted.plan_name is not None:
        say(f"Run them with: study run --plan {wanted.plan_name}", err=True)
    say(json.dumps(names) if as_json else "\n".join(names))
    if wanted.plan_name is None:
        for note in serving_notes(studies.load(storage, name) for name in names):
            say(note, err=True)


@study.command(cls=FlagCommand)
@takes_flags
@click.argument("patterns", metavar="[GLOB]...", nargs=-1)
def run(
    patterns: tuple[str, ...], running: RunFlags, plan_name: str | None = None, kernel_files: tuple[str, ...] = ()
) -> None:
    """Run the unfinished studies, all or those that match.

    With --plan those of a plan, in its order; with --timeout, time that some leave goes where most is to be gained.

    A study ends when its search stops and the best configs have met the default side by side. Stop it at any time
    (Ctrl-C, a kill, a lost machine): running it again goes on where it was.

    Started several times, on one machine or many, runs share the work: what another runs is passed by, and come back to
    in the end. A GPU is one run's at a time.
    """
    for file in kernel_files:
        registry.name_file(file)
    storage = open_storage(running.storage)
    chosen = studies.whole_groups(storage, api.find(storage, patterns, plan_name))
    unfinished = [item.name for item in chosen if item.result is None]
    if not unfinished:
        say("Nothing to run: every matching study is finished; see study list.", err=True)
        return
    load_ahead(running.backend)
    try:
        run_studies(storage, unfinished, running, api.worth(chosen, plan_name))
    finally:
        ran = studies.whole_groups(storage, [studies.load(storage, name) for name in unfinished])
        if finished := [item for item in ran if item.result is not None]:
            show_results(finished)
            say_advice(finished)


@study.command("list", cls=FlagCommand)
@takes_flags
def list_(storage: str = DEFAULT_URL, as_json: bool = False) -> None:
    """List the studies of the storage."""
    found = studies.counted(open_storage(storage))
    if as_json:
        say(json.dumps([state_of(item).to_json() for item in found], indent=2))
    elif not found:
        say("No studies yet; make one with study create.", err=True)
    else:
        show(listing(found))


@study.command("show", cls=FlagCommand)
@takes_flags
@click.argument("name")
def show_(name: str, storage: str = DEFAULT_URL, as_json: bool = False) -> None:
    """Show a study: problem, machine, result, trials.

    NAME may be a glob that matches one study.
    """
    item = api.find_one(open_storage(storage), name)
    if as_json:
        say(json.dumps(results.study_json(item), indent=2))
        return
    say(study_note(item).replace("*", "").replace("`", ""))
    columns = ("trial", "status", "median us", "registers", "spills", "shared B", "config or message")
    rows = [
        (
            row.number,
            row.status,
            us(row.median_us),
            row.registers,
            row.spill_bytes,
            row.shared_bytes,
            config_text(row.params) + (f" ({row.message})" if row.message else ""),
        )
        for row in trial_rows(item)
    ]
    show(table("", columns, rows))


@study.command(cls=FlagCommand)
@takes_flags
@click.argument("name")
def best(name: str, storage: str = DEFAULT_URL, as_json: bool = False) -> None:
    """Print the config that a finished study decided for.

    NAME may be a glob that matches one study.
    """
    item = api.find_one(open_storage(storage), name)
    if (result := item.result) is None:
        raise InputError(f"study {item.name} is not finished; finish it with: study run {item.name}")
    if as_json:
        say(json.dumps(results.best_json(item, result), indent=2))
    else:
        say(results.result_line(item.name, result.decision))
        say(config_text(result.decision.config))
        say_advice([item])


@study.command(cls=FlagCommand)
@takes_flags
@click.argument("patterns", metavar="[GLOB]...", nargs=-1)
def export(
    patterns: tuple[str, ...], flags: ExportFlags, kernel_files: tuple[str, ...] = (), storage: str = DEFAULT_URL
) -> None:
    """Write finished studies as the JSON that the server loads.

    Every entry is read back through the server's own lookup rule. Point VLLM_TUNED_CONFIG_FOLDER or
    SGLANG_LORA_CONFIG_DIR at the folder to use it. Results of this project's own kernels go into its autotune/, which
    no server reads; LORA_AUTOTUNE_CONFIG_DIR is to name that for the plug-in to come.

    Of a plan for vLLM, an m is left out if every shape at it is known to lose less than 2% with what the server takes
    instead, the entries of the nearest m, and nothing to the default; MoE files keep all.
    """
    if flags.all_m and flags.plan_name is None:
        raise InputError("--all-m: is about a plan, and no --plan is given; leave it out: all are written")
    for file in kernel_files:
        registry.name_file(file)
    opened, server = open_storage(storage), flags.of_server
    chosen = studies.whole_groups(opened, api.find(opened, patterns, flags.plan_name))
    finished = [item for item in chosen if item.result is not None]
    if server is not None:
        finished = [item for item in finished if item.call is not None and item.call.server == server]
    if not finished:
        of = f" of {server}" if server else ""
        raise InputError(f"study export: no matching study{of} is finished; finish them with: study run")
    export_studies(
        finished,
        flags.directory,
        flags.on_exist,
        flags.csv,
        flags.as_json,
        required=api.required_by(chosen, flags.plan_name) if flags.plan_name is not None else (),
        thin=flags.plan_name is not None and not flags.all_m,
    )


@study.command(cls=FlagCommand)
@takes_flags
@click.argument("name")
def delete(name: str, yes: bool = False, storage: str = DEFAULT_URL) -> None:
    """Delete a study and its measurements."""
    opened = open_storage(storage)
    trials = studies.count_trials(opened, name)
    if not yes:
        click.confirm(f"Delete {printable(name)} with {trials} trials?", abort=True)
    studies.delete(opened, name)
