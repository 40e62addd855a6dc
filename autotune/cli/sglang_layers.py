"""``tune --runtime sglang`` without a kernel: all layers of a decoder block, with the flags of SGLang's csgmv tuner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from autotune import create as creation
from autotune import registry
from autotune.checkpoint import block_sizes
from autotune.cli.options import Integers, Size, flags
from autotune.errors import InputError
from autotune.report import layers as report
from autotune.report.layers import Layer
from autotune.report.results import machines, study_json
from autotune.report.tables import show, table
from autotune.specs import Request
from autotune.study import KernelStudy, StudySpec

layer_options = flags(
    click.option(
        "--model",
        type=click.Path(path_type=Path),
        help="--runtime sglang: local config.json with the layers' sizes.",
    ),
    click.option(
        "--qkv-output-dim", type=Integers(unique=False), help="--runtime sglang: widths of q and of k, or q, k and v."
    ),
    click.option("--intermediate-size", type=Size(), help="--runtime sglang: adds gate_up and down layers."),
)


@dataclass(frozen=True)
class Block:
    """The layers to tune.

    Attributes:
        layers: Of one decoder block, on one GPU.
        notes: What was assumed.
    """

    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()

    def specs(self, request: Request, values: dict[str, Any], m_values: tuple[int, ...]) -> dict[str, StudySpec]:
        """Names and specs of the studies of both kernels; equal problems are one study.

        Args:
            request: As for any kernel; its own is of no account.
            values: The other flags: rank, chunk sizes, workload, ...
            m_values: None should be given; the kernels say so.

        Raises:
            InputError: If they describe no problem.
        """
        found: dict[str, StudySpec] = {}
        for op in report.OPS:
            kernel = registry.of_runtime(op, "sglang")
            for layer in self.layers:
                sizes = {"hidden_size": layer.columns, "num_slices": len(layer.widths), "slice_widths": layer.widths}
                problems = creation.problems(kernel, values | sizes, m_values)
                found |= creation.describe_all(replace(request, kernel=kernel), problems)
        return found

    def show(self, finished: list[KernelStudy]) -> None:
        """Print a row a layer, kernel and chunk size, and what is saved."""
        results = report.layer_results(self.layers, map(study_json, finished))
        show(table(machines(finished), report.COLUMNS, map(report.cells, results)))
        click.echo()
        show(table("", *report.savings(results)))
        for note in self.notes:
            click.echo(f"Mind: {note}", err=True)


def take_block(options: dict[str, Any]) -> Block | None:
    """The layers that flags describe, taken out of a command's options; None if they are about a single kernel.

    Raises:
        InputError: If they describe none, or are given for another runtime.
    """
    given = {name: options.pop(name) for name in ("model", "qkv_output_dim", "intermediate_size")}
    if options["runtime"] != "sglang" or options["op_type"] is not None:
        if misplaced := [name.replace("_", "-") for name, value in given.items() if value is not None]:
            raise InputError(f"--{misplaced[0]}: is about all layers; pass --runtime sglang, and no --op-type")
        return None
    # The other flags are read as those of one of its kernels.
    options["op_type"] = report.OPS[0]
    sizes, notes = _checkpoint(given["model"], needed=not (options["hidden_size"] and given["qkv_output_dim"]))
    hidden = options["hidden_size"] or sizes.get("hidden_size")
    if hidden is None:
        raise InputError("--hidden-size: not given; pass it and --qkv-output-dim, or --model with a local config.json")
    widths = _qkv(given["qkv_output_dim"], hidden, sizes, notes)
    layers = [Layer("qkv", hidden, widths), Layer("o", widths[0], (hidden,))]
    if inner := given["intermediate_size"] or sizes.get("intermediate_size"):
        layers += [Layer("gate_up", hidden, (inner, inner)), Layer("down", inner, (hidden,))]
    else:
        notes.append("no --intermediate-size was given: gate_up and down are not tuned.")
    return Block(tuple(layers), tuple(notes))


def _checkpoint(model: Path | None, needed: bool) -> tuple[dict[str, int], list[str]]:
    """Sizes off a model's config, and notes. Where flags give the sizes a mere name will do, as in the script."""
    if model is None:
        return {}, []
    if model.exists() or needed:
        return block_sizes(model), []
    return {}, [f"--model {model} is no local checkpoint: all sizes are those of the flags."]


def _qkv(given: tuple[int, ...] | None, hidden: int, sizes: dict[str, int], notes: list[str]) -> tuple[int, ...]:
    """Widths of q, k and v. Their sum alone is enough where the model says how wide q is, or else it is `hidden`."""
    if given is None and "q_width" in sizes:
        return sizes["q_width"], sizes["kv_width"], sizes["kv_width"]
    if given is None:
        raise InputError("--qkv-output-dim: not given; pass the widths of q and of k, e.g. 2048,1024")
    if len(given) in (2, 3):
        return given[0], given[1], given[-1]
    q = sizes.get("q_width", hidden)
    kv, odd = divmod(given[0] - q, 2)
    if len(given) > 3 or odd or not 0 < kv <= q:
        raise InputError(
            f"--qkv-output-dim: got {','.join(map(str, given))}, which does not say how wide q is (not {q}, the hidden "
            "size); allowed: q and k, or q, k and v, e.g. 2048,1024"
        )
    if "q_width" not in sizes:
        notes.append(f"--qkv-output-dim {given[0]}: q is taken to be {q} wide, as the hidden size, k and v {kv} each.")
    return q, kv, kv
