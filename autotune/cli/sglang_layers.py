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
    click.option("--qkv-output-dim", type=Integers(), help="--runtime sglang: widths of q and k; or all summed."),
    click.option("--intermediate-size", type=Size(), help="--runtime sglang: width of the MLP.  [default: 3 x hidden]"),
)


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

    layers: tuple[Layer, ...]
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
            kernel = registry.of_runtime(op, "sglang")
            for layer in self.layers:
                sizes = {"hidden_size": layer.columns, "num_slices": len(layer.widths), "slice_widths": layer.widths}
                problems = creation.problems(kernel, values | sizes, m_values)
                found |= creation.describe_all(replace(request, kernel=kernel), problems)
        for note in self.notes:
            click.echo(f"Mind: {note}", err=True)
        return found

    def show(self, finished: list[KernelStudy]) -> None:
        """Print a row a layer, kernel and chunk size, and what is saved."""
        results = report.layer_results(self.layers, map(study_json, finished))
        show(table(machines(finished), report.COLUMNS, map(report.cells, results)))
        click.echo()
        show(table("", *report.savings(results)))


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
    sizes, notes = _checkpoint(given["model"], needed=options["hidden_size"] is None)
    hidden = options["hidden_size"] or sizes.get("hidden_size")
    if hidden is None:
        raise InputError("--hidden-size: not given; pass it and --qkv-output-dim, or --model with a local config.json")
    widths = _qkv(given["qkv_output_dim"], hidden, sizes, notes)
    inner = given["intermediate_size"] or sizes.get("intermediate_size")
    if inner is None:
        inner = _SCRIPTS_INNER * hidden
        notes.append(f"--intermediate-size is taken to be {inner}, {_SCRIPTS_INNER} times the hidden size.")
    attention = (Layer("qkv", hidden, widths), Layer("o", widths[0], (hidden,)))
    mlp = (Layer("gate_up", hidden, (inner, inner)), Layer("down", inner, (hidden,)))
    return Block(attention + mlp, tuple(notes))


def _checkpoint(model: Path | None, needed: bool) -> tuple[dict[str, int], list[str]]:
    """Sizes off a model's config, and notes. Where flags give the sizes a mere name will do, as in the script."""
    if model is None:
        return {}, []
    if model.exists():
        return block_sizes(model), []
    if needed:
        raise InputError(
            f"--max-loras: not given, without which tune --model {model} cannot plan a preset or a Hugging Face id; "
            "pass it, or the folder of a local checkpoint"
        )
    return {}, [f"--model {model} is no local checkpoint: all sizes are those of the flags."]


def _qkv(given: tuple[int, ...] | None, hidden: int, sizes: dict[str, int], notes: list[str]) -> tuple[int, ...]:
    """Widths of q, k and v, given as such, or as their sum alone, as SGLang's script has it.

    Of a sum, q is what the model says, else as wide as the hidden size if that can be (k is never wider than q), else
    half of it, as in that script; the latter two are noted.
    """
    if given is None and "q_width" in sizes:
        return sizes["q_width"], sizes["kv_width"], sizes["kv_width"]
    if given is not None and len(given) in (2, 3):
        return given[0], given[1], given[-1]
    given = given or (_SCRIPTS_QKV * hidden,)
    total = given[0]
    for q in (sizes.get("q_width", hidden), total // 2):
        kv, odd = divmod(total - q, 2)
        if len(given) == 1 and not odd and 0 < kv <= q:
            if "q_width" not in sizes:
                notes.append(f"--qkv-output-dim {total} is taken to be {q} for q, {kv} for k and v each.")
            return q, kv, kv
    raise InputError(
        f"--qkv-output-dim: got {','.join(map(str, given))}, allowed: the widths of q and k, or of q, k and v, e.g. "
        "2048,1024, or their sum"
    )
