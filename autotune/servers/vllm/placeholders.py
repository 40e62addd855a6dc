"""Makes entries for numbers of slices that a plan never looks up: vLLM stops where a file lacks one (contracts A8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from autotune.servers.serving import Serving
from autotune.servers.shapes import Shape
from autotune.servers.vllm import facts
from autotune.servers.vllm.architectures.wrapped import Wrapped

_SLICES: Final = range(1, 6)
"""The numbers of slices that layers of any class have (contracts A9)."""


def find(found: Wrapped, serving: Serving, shapes: Sequence[Shape]) -> Iterator[Shape]:
    """Yields, of a model that has lookups that are not planned, one shape for each number of slices without any.

    Nearest keys answer whatever its sizes are, and it is not tuned: the server has its default.
    """
    towers = serving.tower_connector and found.language_model.multimodal
    if not (found.unplanned or found.unknown_types or towers):
        return
    keys = {(shape.op, shape.dims.get("add_inputs")) for shape in shapes if shape.op not in facts.MOE_OPS}
    for op, add_inputs in sorted(keys, key=str):
        there = {
            shape.dims["num_slices"] for shape in shapes if (shape.op, shape.dims.get("add_inputs")) == (op, add_inputs)
        }
        for slices in sorted(set(_SLICES) - there):
            dims = {"max_loras": serving.max_loras + 1, "num_slices": slices, "k": serving.rank, "n": serving.rank}
            own = {} if add_inputs is None else {"add_inputs": add_inputs}
            yield Shape(
                server=facts.NAME,
                op=op,
                dims={**dims, **own},
                size="m",
                kernels=(),
                flags={},
                layers=("not planned",),
                count=0,
            )
