"""``plan``: what a server will look up for a model, and what tuning it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click
from rich.table import Table

from autotune.cli.options import ListingCommand, json_option
from autotune.cli.plan_options import plan_options, take_plan
from autotune.contract import groups
from autotune.errors import one_of
from autotune.plan.plan import DEFAULT_DTYPE, LARGE_STUDY_S, SMALL_STUDY_S, Plan
from autotune.report.tables import show, table
from autotune.servers.shapes import Shape


@click.command(cls=ListingCommand, short_help="List a model's lookups and what tuning them takes.")
@click.argument("model")
@plan_options
@click.option("--dtype", default=DEFAULT_DTYPE, show_default=True, help="float16 or bfloat16.")
@click.option("--dry-run", is_flag=True, help="Say what would be done: what this command always does.")
@json_option
def plan(model: str, **options: Any) -> None:
    """List every lookup that a server makes for a model's LoRA layers, and the studies that tuning them takes.

    MODEL is a folder or its config.json, a preset (Qwen3-8B, Llama-3.1-8B, ...) or a Hugging Face id.

    \b
    Example:
      python -m autotune plan Qwen3-8B --runtime vllm --tp 2 --lora-rank 16 --max-loras 4
    Then the same flags on: study create --plan MODEL ..., or tune --model MODEL ...
    """
    as_json, dtype = options.pop("as_json"), options.pop("dtype")
    made = take_plan(model, options, dtype)
    if as_json:
        click.echo(json.dumps(made.to_json(), indent=2))
    else:
        show_plan(made)


def show_plan(made: Plan) -> None:
    """Print a plan: a table a file, then what it takes and what to mind."""
    click.echo(f"{made.name} ({made.model.origin})\n")
    show(*_tables(made))
    sizes = ", ".join(f"{size} ({weight:.0%})" if weight != 1 else str(size) for size, weight in made.sizes.items())
    level = "m" if made.serving.server == "vllm" else "chunk sizes"
    click.echo(f"\n{level}: {sizes}")
    if others := [size for size in made.answered if size not in made.sizes]:
        click.echo(f"Besides them the files hold the server's default at {level}: {one_of(others)}")
    click.echo(
        f"{sum(entry.studies for entry in made.entries)} studies, about {made.seconds / 60:.0f} minutes on an H100 "
        f"with 16 cores ({SMALL_STUDY_S:g} s each, {LARGE_STUDY_S:g} s at large m)"
    )
    for line in made.warnings:
        click.echo(f"Mind: {line}.")
    for line in made.advice:
        click.echo(f"Before tuning: {line}")


def _tables(made: Plan) -> Iterator[Table]:
    by_file: dict[str, list[Shape]] = {}
    for shape in made.shapes:
        by_file.setdefault(_file(shape), []).append(shape)
    for file, shapes in by_file.items():
        names = [name for name in shapes[0].dims if name not in ("add_inputs", "max_loras")]
        loras = shapes[0].dims.get("max_loras")
        title = f"{file}, max_loras key {loras}" if loras else file
        rows = [
            (*(shape.dims[name] for name in names), ", ".join(shape.layers), _tuned(shape, made)) for shape in shapes
        ]
        yield table(title, (*names, "layers", "tuned as"), rows)


def _file(shape: Shape) -> str:
    if shape.server == "sglang":
        return f"lora_{shape.op} files"
    if shape.op == "expand":
        return f"EXPAND_{str(bool(shape.dims['add_inputs'])).upper()}"
    return shape.op.upper()


def _tuned(shape: Shape, made: Plan) -> str:
    if shape.kernels:
        return ", ".join(shape.kernels)
    group = groups.FUSED_MOE_LORA.name
    together = shape.op.startswith(group) and any(group in other.kernels for other in made.shapes)
    return f"with {group}" if together else "not tuned"
