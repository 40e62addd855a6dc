"""From finished studies to files, and what is said about it: what `study export` and `tune` have in common."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import click

from autotune import servers
from autotune.cli.running import say_advice, say_if_replayed
from autotune.contract import Call
from autotune.errors import InputError
from autotune.export.export import check_merge, export
from autotune.export.file import OnExist
from autotune.export.items import calls, export_items, shards
from autotune.export.thinning import Grid
from autotune.report.results import measured_rows
from autotune.report.serving import serving_notes
from autotune.servers import provenance
from autotune.servers.sglang import facts as sglang
from autotune.servers.vllm import facts as vllm
from autotune.study.studies import KernelStudy, StudySpec

all_m_option = click.option(
    "--all-m", is_flag=True, help="Of a plan for vLLM: write every measured m, also those that the nearest serves."
)


def export_studies(
    finished: list[KernelStudy],
    directory: Path,
    on_exist: str,
    csv_file: Path | None,
    as_json: bool,
    required: Iterable[Call] = (),
    thin: bool = False,
) -> None:
    """Export, then say which files were written, what was proven and what to mind.

    Args:
        required: Further lookups that the files must answer.
        thin: Leave out the token counts that are known to do with the entries of the nearest one.

    Raises:
        InputError: If a study's kernel has no server to export to, or the folder cannot take the files.
    """
    check_folder([study.spec for study in finished], directory, on_exist)
    if csv_file is not None:
        check_csv(csv_file, "--csv")
    report = export(export_items(finished, thin), directory, cast(OnExist, on_exist), required)
    if csv_file is not None:
        write_csv(finished, csv_file)
    if as_json:
        notes = [*report.warnings, *servers.advice(study.call for study in finished)]
        data = {"files": [str(f) for f in report.files], "warnings": notes}
        click.echo(json.dumps(data | ({"m": _grids_json(report.grids)} if report.grids else {}), indent=2))
        return
    say_if_replayed(finished)
    for file in report.files:
        click.echo(file)
    if report.grids:
        click.echo(_grids_line(report.grids))
    click.echo(f"{len(report.proofs)} lookups read back through the server's own rule: all find what was meant.")
    if any(vllm.FILE.fullmatch(file.name) for file in report.files):
        click.echo(f"Serve with it: VLLM_TUNED_CONFIG_FOLDER={directory.resolve()} vllm serve ...")
    if any(sglang.FILE.fullmatch(file.name) for file in report.files):
        click.echo(
            f"Serve with it: {sglang.CONFIG_FOLDER}={directory.resolve()} python -m sglang.launch_server "
            "--enable-lora ..."
        )
    for warning in [*serving_notes(finished), *report.warnings]:
        click.echo(f"Mind: {warning}", err=True)
    say_advice(finished)


def _grids_line(by_file: Mapping[str, Sequence[Grid]]) -> str:
    """How many m were left, in all files: of each max_loras and num_slices as few as will do."""
    grids = [grid for found in by_file.values() for grid in found]
    answered = max(len(grid.kept) + len(grid.served_by) for grid in grids)
    kept = sorted({len(grid.kept) for grid in grids})
    if not any(grid.served_by for grid in grids):
        return f"m: {answered} looked up, all written"
    written = f"{kept[0]} to {kept[-1]}" if len(kept) > 1 else kept[0]
    loss = max(grid.largest_loss() for grid in grids)
    return f"m: {answered} looked up, {written} written (nearest of these costs at most {loss:.1%})"


def _grids_json(by_file: Mapping[str, Sequence[Grid]]) -> list[dict[str, object]]:
    return [
        {
            "file": file,
            "max_loras": int(grid.path[0]),
            "num_slices": int(grid.path[1]),
            "written": list(grid.kept),
            "dropped": {
                str(m): {"nearest": taken, "largest_loss": round(grid.largest_loss(m), 4)}
                for m, taken in grid.served_by.items()
            },
        }
        for file, grids in by_file.items()
        for grid in grids
    ]


def check_folder(specs: Iterable[StudySpec], directory: Path, on_exist: str) -> None:
    """Find out, before anything is written or tuned, what an export of these studies would be refused for.

    Raises:
        InputError: If a study's kernel has no server to export to, or the folder cannot take the files.
    """
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{directory}: cannot be written to; choose a folder you may write to")
    provenance.read(directory)
    wanted = [(call, spec.gpu["name"], shards(spec)) for spec in specs for call in calls(spec)]
    if on_exist == "merge":
        check_merge(wanted, directory)


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
