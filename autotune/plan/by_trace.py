"""Plans by what a running server was seen to look up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autotune import servers
from autotune.plan.plan import Plan
from autotune.servers import trace
from autotune.servers.batches import Batches
from autotune.servers.planning import TracedPlan
from autotune.servers.trace import Trace


@dataclass(frozen=True)
class TracedServer:
    """What stands for the model in a plan by a trace.

    Attributes:
        name: The file's, without its ending.
        origin: Where the lookups are from.
    """

    name: str
    origin: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def make(path: Path, batches: Batches) -> Plan:
    """Plans what a trace says, with the weights of the traffic that it counted.

    Args:
        batches: Sizes and the workload where a user chooses them; all else about batches is in the trace.

    Raises:
        InputError: If the file is no trace of one server.
    """
    found = trace.read(path, {name: servers.get(name).command_line.ops for name in servers.names()})
    planner = servers.get(found.server).planner
    planned = planner.traced(found, batches)
    return Plan(
        model=TracedServer(path.stem, f"traced: {found.server} {found.release}, {path}"),
        serving=planned.serving,
        shapes=planned.shapes,
        sizes=planned.sizes.shares,
        raced=planned.sizes.raced,
        answered=planned.sizes.answered,
        dtype=found.dtype,
        variant=_variant(planned),
        warnings=(*_notes(found), *planned.notes),
        advice=tuple(planner.advice(planned.serving, batches)),
    )


def _notes(found: Trace) -> list[str]:
    counted = sum(found.batches["tokens"].values())
    processes = f"{found.processes} process{'es' if found.processes > 1 else ''}"
    if not counted:
        return [f"{processes} of the server wrote the trace, and no batch with an adapter: all sizes weigh the same"]
    return [
        f"{processes} of the server counted {counted} batches with adapters; their sizes are the weights. What never "
        "ran while it was traced is not planned"
    ]


def _variant(planned: TracedPlan) -> str:
    """Returns a few characters that stand for all that is in the plan."""
    shapes = [(each.op, dict(each.dims), _keyed(each.flags), _keyed(each.shares or {})) for each in planned.shapes]
    text = json.dumps([shapes, _keyed(planned.sizes.shares)], sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _keyed(sizes: Mapping[Any, object]) -> dict[str, object]:
    return {str(size): share for size, share in sizes.items()}
