"""Says where the studies of a storage stand: the table of `study list`, and its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autotune.report.dimensions import columns_of
from autotune.report.tables import TextTable, config_text, ratio, table, us
from autotune.study.grouping import by_group
from autotune.study.overview import CountedStudy


@dataclass(frozen=True)
class StudyState:
    """Where a study stands.

    Attributes:
        state: One of `autotune.study.result.STATES`.
        trials: How many there are, of any state.
        best_us: The fastest time of its trials; None before one has succeeded.
        default_us: Of the deciding race; None before it, or if the default does not run.
        source: Whose kernel is timed, and by which backend.
        kernel: The kernel's reference, of a server's own one with its release.
        source_hash: Of the kernel's sources.
        triton: What compiles it; None where a recording does not tell.
        group: Name of the group that it belongs to; None for a study on its own.
    """

    name: str
    state: str
    trials: int
    best_us: float | None
    default_us: float | None
    tuned_us: float | None
    speedup: float | None
    source: str
    kernel: str
    source_hash: str
    triton: str | None
    gpu: str
    group: str | None

    def to_json(self) -> dict[str, Any]:
        """Leaves the group out where there is none."""
        return {name: value for name, value in asdict(self).items() if name != "group" or value is not None}


def state_of(standing: CountedStudy) -> StudyState:
    """Says where a study stands."""
    item, count, result = standing.summary, standing.count, standing.summary.result
    decision = result.decision if result else None
    return StudyState(
        name=item.name,
        state=decision.outcome if decision else ("started" if count.trials else "new"),
        trials=count.trials,
        best_us=count.best_us,
        default_us=decision.incumbent_us if decision else None,
        tuned_us=decision.tuned_us if decision else None,
        speedup=decision.speedup if decision else None,
        source=f"{item.spec.source}, {item.spec.backend}",
        kernel=item.spec.kernel,
        source_hash=item.spec.kernel_fingerprint,
        triton=item.spec.environment.triton,
        gpu=item.spec.gpu.name,
        group=item.spec.group,
    )


_COLUMNS = ("state", "trials", "best us", "default us", "tuned us", "speed-up")


def listing(counted: Sequence[CountedStudy]) -> tuple[TextTable, TextTable]:
    """Makes the table of where every study stands: by their names, and for a narrow terminal by their sizes."""
    of_name = {standing.summary.name: standing for standing in counted}
    names, sizes = columns_of([standing.summary.spec for standing in counted])
    of_sizes = dict(zip(of_name, sizes, strict=True))
    by_name: list[tuple[object, ...]] = []
    by_size: list[tuple[object, ...]] = []
    for together in by_group(standing.summary for standing in counted):
        for found in (state_of(of_name[item.name]) for item in together):
            by_name.append((found.name, *_cells(found), found.source))
            by_size.append((*of_sizes[found.name], *_cells(found)[:2], *_cells(found)[3:]))
        if group := together[0].group_result:
            decision, state = group.decision, f"{group.decision.outcome}, {config_text(group.shared)}"
            times = (us(decision.incumbent_us), us(decision.tuned_us), ratio(decision.speedup))
            by_name.append((group.group, state, "", "", *times, f"sum of the {len(group.members)} above"))
            by_size.append(("sum of these", *[""] * (len(names) - 1), state, "", *times))
    narrow = (*names, *_COLUMNS[:2], *_COLUMNS[3:])
    return table("", ("study", *_COLUMNS, "source"), by_name), table("", narrow, by_size)


def _cells(found: StudyState) -> tuple[object, ...]:
    times = (us(found.best_us), us(found.default_us), us(found.tuned_us), ratio(found.speedup))
    return (found.state, found.trials, *times)
