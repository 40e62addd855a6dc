"""Studies of a whole model: what ``study create --plan`` and ``tune --model`` have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import click

from autotune.cli.exporting import check_csv, check_folder, export_studies, write_csv
from autotune.cli.plan import show_plan
from autotune.cli.plan_options import take_plan_of_studies
from autotune.cli.running import RunFlags, run_studies, say_advice, show_results
from autotune.measure.settings import MeasureSettings
from autotune.plan import studies as planned
from autotune.study import studies
from autotune.study.describe import Request
from autotune.study.storage import open_storage
from autotune.study.studies import KernelStudy

plan_name_option = click.option("--plan", metavar="NAME", help="The studies of a plan, by the name that plan prints.")


def create_plan(model: str, options: dict[str, Any]) -> list[str]:
    """Create the studies of a model; returns their names.

    Raises:
        InputError: If the model cannot be planned, or a study not made.
    """
    plan = take_plan_of_studies("--plan", model, options)
    request = _request(options)
    described = planned.describe(plan, request)
    storage = open_storage(options["storage"], create=True)
    name = planned.name_of(plan, request)
    names = planned.create(storage, plan, name, described, options["skip_if_exists"])
    click.echo(f"Run them with: study run --plan {name}", err=True)
    return names


def tune_model(model: str, options: dict[str, Any]) -> None:
    """Plan, create, run and export.

    Raises:
        InputError: As `create_plan`, or if the files cannot be written.
    """
    options["lora_paths"] = options["lora_path"]
    plan = take_plan_of_studies("--model", model, options)
    show_plan(plan)
    request = _request(options)
    if options["arg_pool_size"] is not None:
        request = replace(request, settings=replace(MeasureSettings(), max_sets=options["arg_pool_size"]))
    described = planned.describe(plan, request)
    directory, on_exist = options["save_json_dir"], "merge" if options["json_overwrite"] else "new"
    if directory is not None:
        check_folder([spec for specs in described for spec in specs.values()], directory, on_exist)
    if options["output_csv"] is not None:
        check_csv(options["output_csv"], "--output-csv")
    run_flags = RunFlags.take(options)
    if options["max_configs"] is not None:
        run_flags = replace(run_flags, trials=options["max_configs"])
    storage = open_storage(options["storage"], create=True)
    plan_name = planned.name_of(plan, request)
    names = planned.create(storage, plan, plan_name, described, skip_if_exists=True)
    chosen = [studies.load(storage, name) for name in names]
    if unfinished := [item.name for item in chosen if item.result is None]:
        run_studies(storage, unfinished, run_flags, worth_in(plan_name, chosen))
    show_results(chosen)
    if directory is not None:
        answered = planned.required(chosen, plan_name)
        thin = not options["all_m"]
        export_studies(chosen, directory, on_exist, options["output_csv"], False, answered, thin)
        return
    say_advice(chosen)
    if options["output_csv"] is not None:
        write_csv(chosen, options["output_csv"])
    click.echo("No file was written; name a folder with --save-json-dir, or use study export --plan.", err=True)


def worth_in(plan: str | None, chosen: Iterable[KernelStudy]) -> dict[str, float]:
    """What a plan says a microsecond less is worth, by study."""
    if plan is None:
        return {}
    return {item.name: found.weight for item in chosen if (found := planned.membership(item, plan))}


def _request(options: dict[str, Any]) -> Request:
    return Request("", options["backend"], options["space"], options["tag"], recorded_dir=options["recorded"])
