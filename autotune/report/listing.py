"""Where the studies of a storage stand: the table of `study list`, and its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from autotune.report.tables import config_text, table, us
from autotune.study.studies import by_group
from autotune.study.study import KernelStudy


@dataclass(frozen=True)
class StudyState:
    """Where a study stands.

    Attributes:
        state: ``new``, ``started``, or the outcome of a finished one.
        trials: How many there are, of any state.
        best_us: The fastest time of its trials; None before one has succeeded.
        source: Whose kernel is timed, and by which backend.
        group: Name of the group that it belongs to; None for a study on its own.
    """

    name: str
    state: str
    trials: int
    best_us: float | None
    source: str
    gpu: str
    group: str | None

    def to_json(self) -> dict[str, Any]:
        """Leaves the group out where there is none."""
        return {name: value for name, value in asdict(self).items() if name != "group" or value is not None}


def state_of(item: KernelStudy) -> StudyState:
    """Finds out where a study stands."""
    found = item.study.get_trials(deepcopy=False)
    values = [t.value for t in found if t.state.name == "COMPLETE" and t.value is not None]
    result = item.result
    return StudyState(
        name=item.name,
        state=result.decision.outcome if result else ("started" if found else "new"),
        trials=len(found),
        best_us=min(values, default=None),
        source=f"{item.spec.source}, {item.spec.backend}",
        gpu=item.spec.gpu.name,
        group=item.spec.group,
    )


def listing(studies: Sequence[KernelStudy]) -> Table:
    """Makes the table of where every study stands."""
    rows: list[tuple[object, ...]] = []
    for together in by_group(studies):
        for found in map(state_of, together):
            rows.append((found.name, found.state, found.trials, us(found.best_us), found.source))
        if group := together[0].group_result:
            state = f"{group.decision.outcome}, {config_text(group.shared)}"
            rows.append((group.group, state, "", us(group.decision.tuned_us), f"sum of the {len(group.members)} above"))
    return table("", ("study", "state", "trials", "best us", "source"), rows)
