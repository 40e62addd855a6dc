"""Takes one of two roads to a model's lookups: the installed server's own classes, or the tool's tables of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from autotune import servers
from autotune.errors import InputError, one_of
from autotune.model.shape import ModelShape
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from autotune.servers.shapes import Shape

Road = Literal["auto", "server", "tables"]
"""Which road to take; ``auto`` takes the server's where it is installed and its classes can be built."""


@dataclass(frozen=True)
class Found:
    """The distinct lookups of a model.

    Attributes:
        notes: Which road they came by, and how the other compares; one line each.
        placeholders: What files must answer, too, since not all of the model's lookups are known.
    """

    shapes: tuple[Shape, ...]
    notes: tuple[str, ...]
    placeholders: tuple[Shape, ...] = ()


def find(model: ModelShape, serving: Serving, batches: Batches, road: Road) -> Found:
    """Finds the lookups.

    Raises:
        InputError: If the model cannot be served so, or the road that was asked for is not there.
    """
    planner = servers.get(serving.server).planner
    notes: tuple[str, ...] = ()
    if road != "tables":
        read = planner.read_off(model, serving, batches)
        if read.lacking is None:
            return Found(read.shapes, (*read.notes, _comparison(model, serving, batches, read.shapes)))
        if road == "server":
            raise InputError(f"--from-server: {read.lacking}; fix that, or leave the flag out to plan by the tables")
        notes = read.notes
    planner.check_model(model, serving)
    shapes = tuple(planner.shapes(model, serving, batches))
    placeholders = tuple(planner.placeholders(model, serving, shapes))
    return Found(shapes, (*notes, *planner.assumptions(model, serving)), placeholders)


def _comparison(model: ModelShape, serving: Serving, batches: Batches, read: tuple[Shape, ...]) -> str:
    planner = servers.get(serving.server).planner
    try:
        planner.check_model(model, serving)
        tables = planner.shapes(model, serving, batches)
    except InputError as error:
        return f"the tool's tables do not plan it ({error})"
    if planner.placeholders(model, serving, tables):
        return f"the tool's tables plan a part of it ({'; '.join(planner.assumptions(model, serving))})"
    extra, missing = _apart(tables, read), _apart(read, tables)
    if not extra and not missing:
        return "the tool's tables come to the same lookups"
    parts = [f"have {one_of(extra)} too many"] if extra else []
    parts += [f"lack {one_of(missing)}"] if missing else []
    return f"the tool's tables {' and '.join(parts)}: please report it"


def _apart(these: Iterable[Shape], others: Iterable[Shape]) -> list[str]:
    known = {shape.key for shape in others}
    return [f"{shape.op} {' '.join(shape.labels)}" for shape in these if shape.key not in known]
