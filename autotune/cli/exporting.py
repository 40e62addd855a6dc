"""From finished studies to files, and what is said about it: what `study export` and `tune` have in common."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, cast

import click

from autotune import __version__
from autotune.cli.running import say_if_replayed
from autotune.errors import InputError
from autotune.export import ExportItem, OnExist, export
from autotune.report.results import measured_rows
from autotune.study import KernelStudy


def export_studies(
    finished: list[KernelStudy], directory: Path, on_exist: str, csv_file: Path | None, as_json: bool
) -> None:
    """Export, then say which files were written, what was proven and what to mind.

    Raises:
        InputError: If a study's kernel has no runtime to export to, or the folder cannot take the files.
    """
    report = export([_item(study) for study in finished], directory, cast(OnExist, on_exist))
    if csv_file is not None:
        write_csv(finished, csv_file)
    if as_json:
        click.echo(json.dumps({"files": [str(f) for f in report.files], "warnings": list(report.warnings)}, indent=2))
        return
    say_if_replayed(finished)
    for file in report.files:
        click.echo(file)
    click.echo(f"{len(report.proofs)} lookups read back through the server's own rule: all find what was meant.")
    for warning in report.warnings:
        click.echo(f"Mind: {warning}", err=True)


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
        raise InputError(f"--csv: cannot write {path} ({error.strerror}); name another file") from error


def _item(study: KernelStudy) -> ExportItem:
    if study.call is None:
        raise InputError(f"study {study.name}: no runtime loads configs for kernel {study.spec.kernel}; leave it out")
    result = study.result or {}
    return ExportItem(
        study=study.name,
        call=study.call,
        config=result["config"],
        is_incumbent=result["outcome"] == "default",
        gpu_name=study.spec.gpu["name"],
        provenance=_provenance(study, result),
    )


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
    }
