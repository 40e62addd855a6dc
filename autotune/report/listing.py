"""Where the studies of a storage stand: the table of `study list`, and its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from autotune.report.tables import config_text, table, us
from autotune.study.studies import CountedStudy, by_group


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


def state_of(standing: CountedStudy) -> StudyState:
    """Says where a study stands."""
    item, count, result = standing.summary, standing.count, standing.summary.result
    return StudyState(
        name=item.name,
        state=result.decision.outcome if result else ("started" if count.trials else "new"),
        trials=count.trials,
        best_us=count.best_us,
        source=f"{item.spec.source}, {item.spec.backend}",
        gpu=item.spec.gpu.name,
        group=item.spec.group,
    )


def listing(counted: Sequence[CountedStudy]) -> Table:
    """Makes the table of where every study stands."""
    of_name = {standing.summary.name: standing for standing in counted}
    rows: list[tuple[object, ...]] = []
    for together in by_group(standing.summary for standing in counted):
        for found in (state_of(of_name[item.name]) for item in together):
            rows.append((found.name, found.state, found.trials, us(found.best_us), found.source))
        if group := together[0].group_result:
            state = f"{group.decision.outcome}, {config_text(group.shared)}"
            rows.append((group.group, state, "", us(group.decision.tuned_us), f"sum of the {len(group.members)} above"))
    return table("", ("study", "state", "trials", "best us", "source"), rows)
