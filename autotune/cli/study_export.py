"""``study export`` writes finished studies into the files that servers load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from autotune import api
from autotune.cli.completion import study_names
from autotune.cli.export_output import Target, export_studies
from autotune.cli.flags.command import FlagCommand, takes_flags
from autotune.cli.messages import working
from autotune.contract import registry
from autotune.errors import InputError
from autotune.export.file import OnExist
from autotune.paths import DEFAULT_STORAGE_URL


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


@click.command(cls=FlagCommand)
@takes_flags
@click.argument("patterns", metavar="[GLOB]...", nargs=-1, shell_complete=study_names)
def export(
    patterns: tuple[str, ...],
    flags: ExportFlags,
    kernel_files: tuple[str, ...] = (),
    storage: str = DEFAULT_STORAGE_URL,
) -> None:
    """Write finished studies as the JSON that the server loads.

    Every entry is read back through the server's own lookup rule. Point VLLM_TUNED_CONFIG_FOLDER or
    SGLANG_LORA_CONFIG_DIR at the folder to use it. Results of this project's own kernels go into its autotune/, which
    only the plug-in reads: LORA_AUTOTUNE_KERNELS=1 turns it on, LORA_AUTOTUNE_CONFIG_DIR names the folder.

    Of a plan for vLLM, an m is left out if every shape at it is known to lose less than 2% with what the server takes
    instead, the entries of the nearest m, and nothing to the default; MoE files keep all.
    """
    if flags.all_m and flags.plan_name is None:
        raise InputError("--all-m: is about a plan, and no --plan is given; leave it out: all are written")
    for file in kernel_files:
        registry.name_file(file)
    plan_name, server = flags.plan_name, flags.of_server
    with working("reading the studies"):
        chosen = api.read(storage, patterns, plan_name, whole_groups=True)
    finished = api.decided(chosen, plan_name) if plan_name else [item for item in chosen if item.result is not None]
    if server is not None:
        finished = [item for item in finished if item.call is not None and item.call.server == server]
    if not finished:
        of = f" of {server}" if server else ""
        raise InputError(f"study export: no matching study{of} is finished; finish them with: study run")
    export_studies(
        finished,
        Target(flags.directory, flags.on_exist, flags.csv),
        flags.as_json,
        required=api.required_by(chosen, flags.plan_name) if flags.plan_name is not None else (),
        thin=flags.plan_name is not None and not flags.all_m,
    )
