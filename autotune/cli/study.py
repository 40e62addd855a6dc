"""``study``: create, run, list, show, best, export, delete."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path
from typing import Any

import click
import optuna
from optuna.storages import BaseStorage

from autotune import servers
from autotune.cli.exporting import all_m_option, export_studies
from autotune.cli.model import create_plan, plan_name_option, worth_in
from autotune.cli.options import (
    ListingCommand,
    ProblemFlags,
    backend_option,
    creation_options,
    json_option,
    problem_options,
    recorded_option,
    run_options,
    storage_option,
)
from autotune.cli.plan_options import added, plan_options, refuse_without
from autotune.cli.running import RunFlags, load_ahead, run_studies, say_advice, show_results
from autotune.errors import InputError, one_of
from autotune.plan.studies import of_plan, required
from autotune.report import results
from autotune.report.note import study_note
from autotune.report.serving import serving_notes
from autotune.report.tables import config_text, show, table, us
from autotune.study import creation, studies
from autotune.study.describe import Request
from autotune.study.storage import open_storage
from autotune.study.studies import KernelStudy


@click.group()
def study() -> None:
    """Create, run, read and export studies: one per kernel shape."""


@study.command(cls=ListingCommand)
@click.option("--plan", metavar="MODEL", help="All studies of a model; takes the flags of plan, and no --op-type.")
@added(plan_options)
@problem_options
@creation_options
@backend_option
@recorded_option
@click.option("--skip-if-exists", is_flag=True, help="Pass by studies that exist.")
@storage_option
@json_option
def create(**options: Any) -> None:
    """Create a study for each token count, or chunk size, of a problem.

    Prints their names, which all other commands take.

    \b
    Example:
      python -m autotune study create --op-type lora_shrink --m-values 1,16,64 \\
          --hidden-size 5120 --lora-rank 16 --num-loras 4
      python -m autotune study create --runtime sglang --op-type shrink --chunk-sizes 16,128 \\
          --hidden-size 1024 --lora-rank 64 --num-slices 3
      python -m autotune study create --plan Qwen3-8B --runtime vllm --lora-rank 16 --max-loras 4
    """
    model = options.pop("plan")
    if model is not None:
        names = create_plan(model, options)
        click.echo(json.dumps(names) if options["as_json"] else "\n".join(names))
        return
    refuse_without("--plan", options)
    flags = ProblemFlags.take(options)
    request = Request(
        flags.kernel, options["backend"], options["space"], options["tag"], recorded_dir=options["recorded"]
    )
    specs = creation.describe_flags(request, flags.with_sizes({}), flags.m_values, flags.path)
    storage = open_storage(options["storage"], create=True)
    names = creation.create_all(storage, specs, options["skip_if_exists"])
    click.echo(json.dumps(names) if options["as_json"] else "\n".join(names))
    for note in serving_notes(studies.load(storage, name) for name in names):
        click.echo(note, err=True)


@study.command()
@click.argument("patterns", metavar="[GLOB]...", nargs=-1)
@plan_name_option
@run_options
@backend_option
@recorded_option
@storage_option
def run(patterns: tuple[str, ...], plan: str | None, **options: Any) -> None:
    """Run the unfinished studies, all or those that match.

    With --plan those of a plan, in its order; with --timeout, time that some leave goes where most is to be gained.

    A study ends when its search stops and the best configs have met the default side by side. Stop it at any time
    (Ctrl-C, a kill, a lost machine): running it again goes on where it was.
    """
    flags = RunFlags.take(options)
    storage = open_storage(flags.storage)
    chosen = studies.whole_groups(storage, chosen_of(storage, patterns, plan))
    unfinished = [item.name for item in chosen if item.result is None]
    if not unfinished:
        click.echo("Nothing to run: every matching study is finished; see study list.", err=True)
        return
    load_ahead(flags.backend)
    try:
        run_studies(storage, unfinished, flags, worth_in(plan, chosen))
    finally:
        ran = studies.whole_groups(storage, [studies.load(storage, name) for name in unfinished])
        if finished := [item for item in ran if item.result is not None]:
            show_results(finished)
            say_advice(finished)


@study.command("list")
@storage_option
@json_option
def list_(storage: str, as_json: bool) -> None:
    """List the studies of the storage."""
    opened = open_storage(storage)
    found = [studies.load(opened, name) for name in studies.names(opened)]
    if as_json:
        click.echo(json.dumps([results.summarise(item) for item in found], indent=2))
    elif not found:
        click.echo("No studies yet; make one with study create.", err=True)
    else:
        show(results.listing(found))


@study.command("show")
@click.argument("name")
@storage_option
@json_option
def show_(name: str, storage: str, as_json: bool) -> None:
    """Show a study: problem, machine, result, trials.

    NAME may be a glob that matches one study.
    """
    item = the_one(open_storage(storage), name)
    data = results.study_json(item)
    if as_json:
        click.echo(json.dumps(data, indent=2))
        return
    click.echo(study_note(item).replace("*", "").replace("`", ""))
    columns = ("trial", "status", "median us", "registers", "spills", "shared B", "config or message")
    rows = [
        (
            t["number"],
            t["status"],
            us(t["median_us"]),
            t.get("registers"),
            t.get("spill_bytes"),
            t.get("shared_bytes"),
            config_text(t["params"]) + (f" ({t['message']})" if t.get("message") else ""),
        )
        for t in data["trials"]
    ]
    show(table("", columns, rows))


@study.command()
@click.argument("name")
@storage_option
@json_option
def best(name: str, storage: str, as_json: bool) -> None:
    """Print the config that a finished study decided for.

    NAME may be a glob that matches one study.
    """
    item = the_one(open_storage(storage), name)
    if item.result is None:
        raise InputError(f"study {item.name} is not finished; finish it with: study run {item.name}")
    if as_json:
        keys = ("outcome", "config", "incumbent_us", "tuned_us", "p_value")
        advice = servers.advice([item.call])
        data = {key: item.result[key] for key in keys} | ({"advice": advice} if advice else {})
        click.echo(json.dumps(data, indent=2))
    else:
        click.echo(results.result_line(item.name, item.result))
        click.echo(config_text(item.result["config"]))
        say_advice([item])


@study.command()
@click.argument("patterns", metavar="[GLOB]...", nargs=-1)
@plan_name_option
@click.option("--dir", "directory", type=click.Path(path_type=Path), required=True, help="Folder of the JSON files.")
@click.option(
    "--on-exist",
    type=click.Choice(["merge", "overwrite", "new"]),
    default="merge",
    show_default=True,
    help="What to do with a file that is there: merge into it, replace it, or write a new one beside it.",
)
@click.option("--csv", type=click.Path(path_type=Path), help="Also write every measured config to this file.")
@click.option("--runtime", type=click.Choice(servers.names()), help="Only studies of this server's kernels.")
@all_m_option
@storage_option
@json_option
def export(patterns: tuple[str, ...], plan: str | None, **options: Any) -> None:
    """Write finished studies as the JSON that the server loads.

    Every entry is read back through the server's own lookup rule. Point VLLM_TUNED_CONFIG_FOLDER or
    SGLANG_LORA_CONFIG_DIR at the folder to use it.

    Of a plan for vLLM, an m is left out if every shape at it is known to lose less than 2% with what the server takes
    instead, the entries of the nearest m, and nothing to the default; MoE files keep all.
    """
    if options["all_m"] and plan is None:
        raise InputError("--all-m: is about a plan, and no --plan is given; leave it out: all are written")
    opened, server = open_storage(options["storage"]), options["runtime"]
    chosen = studies.whole_groups(opened, chosen_of(opened, patterns, plan))
    finished = [item for item in chosen if item.result is not None]
    if server is not None:
        finished = [item for item in finished if item.call is not None and item.call.server == server]
    if not finished:
        of = f" of {server}" if server else ""
        raise InputError(f"study export: no matching study{of} is finished; finish them with: study run")
    answered = required(chosen, plan) if plan is not None else ()
    thin = plan is not None and not options["all_m"]
    export_studies(
        finished, options["directory"], options["on_exist"], options["csv"], options["as_json"], answered, thin
    )


@study.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@storage_option
def delete(name: str, yes: bool, storage: str) -> None:
    """Delete a study and its measurements."""
    opened = open_storage(storage)
    item = studies.load(opened, name)
    if not yes:
        click.confirm(f"Delete {name} with {len(item.study.trials)} trials?", abort=True)
    optuna.delete_study(study_name=name, storage=opened)


def the_one(storage: BaseStorage, name: str) -> KernelStudy:
    """The study of this name, or the only one that it matches as a glob.

    Raises:
        InputError: If there is none, or more than one.
    """
    names = studies.names(storage)
    found = [name] if name in names else fnmatch.filter(names, name)
    if len(found) > 1:
        raise InputError(f"study: got {name!r}, which matches {len(found)}: {one_of(found)}; name one of them")
    return studies.load(storage, found[0] if found else name)


def chosen_of(storage: BaseStorage, patterns: tuple[str, ...], plan: str | None) -> list[KernelStudy]:
    """The studies that globs match, or those of a plan.

    Raises:
        InputError: If there is none, or both are given.
    """
    if plan is None:
        return matching(storage, patterns)
    if patterns:
        raise InputError(f"--plan: got {plan!r} and the glob {patterns[0]!r}; give one of them")
    return of_plan(storage, plan)


def matching(storage: BaseStorage, patterns: tuple[str, ...]) -> list[KernelStudy]:
    """Our studies whose name matches one of the globs; all without any.

    Raises:
        InputError: If a glob matches none.
    """
    names = studies.names(storage)
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise InputError(f"study: got {pattern!r}, which matches none of: {one_of(names) or 'no studies yet'}")
    chosen = [name for name in names if not patterns or any(fnmatch.fnmatch(name, p) for p in patterns)]
    return [studies.load(storage, name) for name in chosen]
