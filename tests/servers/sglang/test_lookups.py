"""Plans of models with latent or linear attention, or state spaces, beside what SGLang's own classes and pool wrap.

The data is read off SGLang's classes, built without weights on the meta device, and off the buffers of its pool.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import InputError
from autotune.model.shape import read
from autotune.model.sources import Source
from autotune.plan.plan import make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from autotune.servers.shapes import Shape

RECORDED: dict[str, Any] = json.loads((Path(__file__).parents[2] / "data" / "sglang_wrapped.json").read_text())


@pytest.mark.parametrize(("name", "tp", "targets", "wrapped"), RECORDED["wrapped"])
def test_a_plan_is_what_the_server_wraps(name: str, tp: int, targets: str, wrapped: list[list[Any]] | str) -> None:
    model = read(Source(name, name, RECORDED["configs"][name]), {})
    serving = Serving("sglang", tp, 16, 4, target_modules=tuple(targets.split(",")))
    if isinstance(wrapped, str):
        with pytest.raises(InputError):
            make(model, serving, Batches())
        return
    shapes = [shape for shape in make(model, serving, Batches()).shapes if not is_of_embeddings(shape)]
    assert {(each.op, each.dims["K"], each.dims["S"]) for each in shapes} == {tuple(each) for each in wrapped}


def is_of_embeddings(shape: Shape) -> bool:
    return all("lm_head" in layer or "embed_tokens" in layer for layer in shape.layers)
