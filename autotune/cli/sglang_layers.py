"""``tune --runtime sglang`` without a kernel: all layers of a decoder block, with the flags of SGLang's csgmv tuner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from autotune.cli.options import Integers, Size, flags
from autotune.contract import registry
from autotune.errors import InputError
from autotune.model import shape as models
from autotune.model.shape import ModelShape
from autotune.report import layers as report
from autotune.report.layers import BlockLayer
from autotune.report.results import machines, summary_json
from autotune.report.serving import serving_notes
from autotune.report.tables import show, table
from autotune.study import creation
from autotune.study.describe import Request
from autotune.study.studies import KernelStudy, StudySpec

layer_options = flags(
    click.option(
        "--model",
        type=click.Path(path_type=Path),
        help="--runtime sglang: gives the layers' sizes; a folder, preset or Hugging Face id, as for plan.",
    ),
    click.option("--qkv-output-dim", type=Integers(), help="--runtime sglang: widths of q and k; or all summed."),
    click.option("--intermediate-size", type=Size(), help="--runtime sglang: width of the MLP.  [default: 3 x hidden]"),
)


_OF_ONE_LAYER = ("num_slices", "slice_widths", "output_dim")

# Of the hidden size: what the script assumes of all q, k and v together, and of the MLP.
_SCRIPTS_QKV = 4
_SCRIPTS_INNER = 3


@dataclass(frozen=True)
class Block:
    """The layers to tune.

    Attributes:
        layers: Of one decoder block, on one GPU.
        notes: What was assumed.
    """

    layers: tuple[BlockLayer, ...]
    notes: tuple[str, ...] = ()

    def specs(self, request: Request, values: dict[str, Any], m_values: tuple[int, ...]) -> dict[str, StudySpec]:
        """Names and specs of the studies of both kernels; equal problems are one study. Says what was assumed.

        Args:
            request: As for any kernel; its own is of no account.
            values: The other flags: rank, chunk sizes, workload, ...
            m_values: None should be given; the kernels say so.

        Raises:
            InputError: If they describe no problem.
        """
        found: dict[str, StudySpec] = {}
        for op in report.OPS:
            kernel = registry.of_server(op, "sglang")
            for layer in self.layers:
                sizes = {"hidden_size": layer.columns, "num_slices": len(layer.widths), "slice_widths": layer.widths}
                problems = creation.problems(kernel, values | sizes, m_values)
                found |= creation.describe_all(replace(request, kernel=kernel), problems)
        for note in self.notes:
            click.echo(f"Mind: {note}", err=True)
        return found

    def show(self, finished: list[KernelStudy]) -> None:
        """Print a row a layer, kernel and chunk size, what is saved, and what a server makes of it."""
        results = report.layer_results(self.layers, map(summary_json, finished))
        show(table(machines(finished), report.COLUMNS, map(report.cells, results)))
        click.echo()
        show(table("", *report.savings(results)))
        for note in serving_notes(finished):
            click.echo(note)


def take_block(options: dict[str, Any]) -> Block | None:
    """The layers that flags describe, taken out of a command's options; None if they are about a single kernel.

    Raises:
        InputError: If they describe none, or are given for another server.
    """
    given = {name: options.pop(name) for name in ("model", "qkv_output_dim", "intermediate_size")}
    if options["runtime"] != "sglang" or options["op_type"] is not None:
        if misplaced := [name.replace("_", "-") for name, value in given.items() if value is not None]:
            raise InputError(f"--{misplaced[0]}: is about all layers; pass --runtime sglang, and no --op-type")
        return None
    if single := [name.replace("_", "-") for name in _OF_ONE_LAYER if options.get(name) is not None]:
        raise InputError(f"--{single[0]}: describes a single layer, and without --op-type all are tuned; leave it out")
    # The other flags are read as those of one of its kernels.
    options["op_type"] = report.OPS[0]
    model, notes = _model(given["model"], needed=options["hidden_size"] is None)
    hidden: int | None = options["hidden_size"] or (model.hidden if model else None)
    if hidden is None:
        raise InputError("--hidden-size: not given; pass it and --qkv-output-dim, or --model")
    widths = _qkv(given["qkv_output_dim"], hidden, model, notes)
    layers = [BlockLayer("qkv", hidden, widths), BlockLayer("o", widths[0], (hidden,))]
    for prefix, inner in _mlps(given["intermediate_size"], hidden, model, notes).items():
        layers += [
            BlockLayer(f"{prefix}gate_up", hidden, (inner, inner)),
            BlockLayer(f"{prefix}down", inner, (hidden,)),
        ]
    return Block(tuple(layers), tuple(notes))


def _model(named: Path | None, needed: bool) -> tuple[ModelShape | None, list[str]]:
    """A model's sizes, and notes. Where flags give the sizes a mere name will do, as in the script."""
    if named is None:
        return None, []
    if named.exists() or needed:
        model = models.load(str(named))
        return model, list(model.assumptions)
    return None, [f"--model {named} is no local checkpoint: all sizes are those of the flags."]


def _mlps(given: int | None, hidden: int, model: ModelShape | None, notes: list[str]) -> dict[str, int]:
    """Widths of the dense MLPs, by what their layers' names begin with. Of experts only the shared ones are dense."""
    if given is not None:
        return {"": given}
    if model is None:
        inner = _SCRIPTS_INNER * hidden
        notes.append(f"--intermediate-size is taken to be {inner}, {_SCRIPTS_INNER} times the hidden size.")
        return {"": inner}
    if model.experts is not None:
        notes.append(
            "experts: SGLang reads no file for their LoRA kernels, so they are not tuned; --intermediate-size adds a "
            "dense MLP."
        )
    shared = model.experts.shared if model.experts else 0
    return {prefix: inner for prefix, inner in (("", model.intermediate), ("shared_", shared)) if inner}


def _qkv(given: tuple[int, ...] | None, hidden: int, model: ModelShape | None, notes: list[str]) -> tuple[int, ...]:
    """Widths of q, k and v, given as such, or as their sum alone, as SGLang's script has it.

    Of a sum, q is what the model says, else as wide as the hidden size if that can be (k is never wider than q), else
    half of it, as in that script; the latter two are noted.
    """
    if given is None and model is not None:
        kv = model.kv_heads * model.head_dim
        return model.heads * model.head_dim, kv, kv
    if given is not None and len(given) in (2, 3):
        return given[0], given[1], given[-1]
    given = given or (_SCRIPTS_QKV * hidden,)
    total = given[0]
    for q in (model.heads * model.head_dim if model else hidden, total // 2):
        kv, odd = divmod(total - q, 2)
        if len(given) == 1 and not odd and 0 < kv <= q:
            if model is None:
                notes.append(f"--qkv-output-dim {total} is taken to be {q} for q, {kv} for k and v each.")
            return q, kv, kv
    raise InputError(
        f"--qkv-output-dim: got {','.join(map(str, given))}, allowed: the widths of q and k, or of q, k and v, e.g. "
        "2048,1024, or their sum"
    )
