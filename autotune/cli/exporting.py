"""From finished studies to files, and what is said about it: what `study export` and `tune` have in common."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import click

from autotune import __version__, runtimes
from autotune.cli.running import say_advice, say_if_replayed
from autotune.errors import InputError
from autotune.export import ExportItem, OnExist, export
from autotune.kernel import Call
from autotune.report.results import measured_rows
from autotune.runtimes import provenance, sglang
from autotune.runtimes.files import read_table
from autotune.study import KernelStudy, StudySpec


def export_studies(
    finished: list[KernelStudy], directory: Path, on_exist: str, csv_file: Path | None, as_json: bool
) -> None:
    """Export, then say which files were written, what was proven and what to mind.

    Raises:
        InputError: If a study's kernel has no runtime to export to, or the folder cannot take the files.
    """
    check_folder([study.spec for study in finished], directory, on_exist)
    if csv_file is not None:
        check_csv(csv_file, "--csv")
    report = export([_item(study) for study in finished], directory, cast(OnExist, on_exist))
    if csv_file is not None:
        write_csv(finished, csv_file)
    if as_json:
        notes = [*report.warnings, *runtimes.advice(study.call for study in finished)]
        click.echo(json.dumps({"files": [str(f) for f in report.files], "warnings": notes}, indent=2))
        return
    say_if_replayed(finished)
    for file in report.files:
        click.echo(file)
    click.echo(f"{len(report.proofs)} lookups read back through the server's own rule: all find what was meant.")
    if any(study.spec.call and study.spec.call["runtime"] == "vllm" for study in finished):
        click.echo(f"Serve with it: VLLM_TUNED_CONFIG_FOLDER={directory.resolve()} vllm serve ...")
    if any(study.spec.call and study.spec.call["runtime"] == "sglang" for study in finished):
        click.echo(
            f"Serve with it: {sglang.ENVIRONMENT}={directory.resolve()} python -m sglang.launch_server "
            "--enable-lora ..."
        )
    for warning in report.warnings:
        click.echo(f"Mind: {warning}", err=True)
    say_advice(finished)


def check_folder(specs: Iterable[StudySpec], directory: Path, on_exist: str) -> None:
    """Find out, before anything is written or tuned, what an export of these studies would be refused for.

    Raises:
        InputError: If a study's kernel has no runtime to export to, or the folder cannot take the files.
    """
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{directory}: cannot be written to; choose a folder you may write to")
    provenance.read(directory)
    for spec in specs:
        call = _call(spec)
        runtime = runtimes.get(call.runtime)
        path = directory / runtime.file_name(spec.gpu["name"], call)
        if on_exist == "merge" and path.exists():
            read_table(path, runtime.levels(call))


def check_csv(path: Path, flag: str) -> None:
    """Find out ahead whether a CSV file can be written.

    Raises:
        InputError: If not.
    """
    if path.is_dir() or not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise InputError(f"{flag}: cannot write {path}; name a file in a folder that is there")


def write_csv(studies: list[KernelStudy], path: Path) -> None:
    """Write every measured config of the studies, one row each.

    Raises:
        InputError: If the file cannot be written.
    """
    rows = [row for study in studies for row in measured_rows(study)]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    try:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise InputError(f"{path}: cannot write it ({error.strerror}); name another file") from error


def _item(study: KernelStudy) -> ExportItem:
    result = study.result or {}
    return ExportItem(
        study=study.name,
        call=_call(study.spec),
        config=result["config"],
        is_incumbent=result["outcome"] == "default",
        gpu_name=study.spec.gpu["name"],
        provenance=_provenance(study, result),
    )


def _call(spec: StudySpec) -> Call:
    if (call := spec.runtime_call) is None:
        raise InputError(f"kernel {spec.kernel}: no runtime loads configs for it, so there is nothing to export")
    return call


def _provenance(study: KernelStudy, result: dict[str, Any]) -> dict[str, Any]:
    spec = study.spec
    kept = ("outcome", "incumbent_us", "tuned_us", "p_value", "counts", "finished")
    return {
        "autotune": __version__,
        "backend": spec.backend,
        "recording": spec.space if spec.backend == "replay" else None,
        "source": spec.source,
        "kernel": spec.kernel,
        "kernel_fingerprint": spec.kernel_fingerprint,
        "problem": spec.problem,
        "environment": spec.environment,
        "settings": spec.settings,
        **{key: result[key] for key in kept},
        **({"workloads": result["workloads"]} if result.get("workloads") else {}),
        **({"advice": advice} if (advice := runtimes.advice([study.call])) else {}),
    }
