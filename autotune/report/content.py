"""Defines what a report tells of studies: plain data, which every format is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autotune.contract import Config
from autotune.report.rivals import NO_RIVALS, RUNS_OURS, RUNS_TOGETHER, Rivals
from autotune.report.served import ServedTimes


@dataclass(frozen=True)
class ReportRow:
    """One study, as a report tells of it.

    Attributes:
        layers: The layers of the plan that look it up; else the problem's sizes.
        size: Batch size of its lookup: m, or the chunk size; None for a kernel that no server looks up.
        launches: How many times a forward pass looks it up; 0 where that is not known.
        source: Whose kernel was timed, and by which backend.
        source_hash: Of the kernel's sources.
        triton: What compiled it; None where a recording does not tell.
        state: ``tuned``, ``default`` or ``unfinished``.
        default_us: None if the default does not run here, or nothing is decided.
        floor_us: The least time at the machine's bandwidth; None where that is not known.
        config: What is written for it; None while nothing is decided.
        why: Why there is no faster config; empty for a tuned study.
        rivals: Of our kernel: what the same work takes otherwise, where it was compared.
    """

    name: str
    op: str
    layers: str
    size: int | None
    launches: int
    kernel: str
    source: str
    source_hash: str
    triton: str | None
    state: str
    default_us: float | None
    tuned_us: float | None
    floor_us: float | None
    p_value: float | None
    config: Config | None
    trials: int
    why: str
    rivals: Rivals | None = None

    @property
    def speedup(self) -> float | None:
        return self.default_us / self.tuned_us if self.default_us and self.tuned_us else None

    @property
    def of_floor(self) -> float | None:
        return self.floor_us / self.tuned_us if self.floor_us and self.tuned_us else None

    def to_json(self) -> dict[str, Any]:
        """Returns all, those of the rivals on the same level."""
        rivals = asdict(self.rivals or NO_RIVALS)
        own = {name: value for name, value in asdict(self).items() if name != "rivals"}
        return own | {"speedup": self.speedup, "of_floor": self.of_floor} | rivals


@dataclass(frozen=True)
class Saving:
    """What one forward pass saves at a batch size: all layers of the plan together.

    Attributes:
        tuned_us: With the server's files; without studies of its kernels, with the plug-in's.
        missing: Studies of this size that are not decided; their layers are left out of all times.
        plugin_us: With the plug-in as well; None where its kernels were not compared with others.
    """

    size: int
    default_us: float
    tuned_us: float
    missing: int
    plugin_us: float | None = None

    @property
    def saved_us(self) -> float:
        return self.default_us - self.tuned_us

    @property
    def plugin_saved_us(self) -> float | None:
        return None if self.plugin_us is None else self.default_us - self.plugin_us

    @property
    def speedup(self) -> float:
        return self.default_us / self.tuned_us


@dataclass(frozen=True)
class ReportContent:
    """All that a report tells, except its plots.

    Attributes:
        title: The plan's name, or what the studies were chosen by.
        level: What sizes are of: ``m``, ``chunk_size``; empty where studies are of several kinds.
        savings: By size, ascending; empty without a plan.
        spent_s: Where the time of all studies went, by phase.
        untuned: What is not tuned and why, one line each.
        advice: What to know before serving.
        machines: Where it was measured: GPU, driver and versions; of replays, where it was recorded.
        served: What the server's engine took with the files of an export; None where nobody asked for it.
    """

    title: str
    made: str
    level: str
    rows: tuple[ReportRow, ...]
    savings: tuple[Saving, ...]
    spent_s: Mapping[str, float]
    untuned: tuple[str, ...]
    advice: tuple[str, ...]
    machines: tuple[str, ...]
    served: ServedTimes | None = None

    @property
    def tuned(self) -> int:
        return sum(row.state == "tuned" for row in self.rows)

    @property
    def headline(self) -> str:
        """The result in one sentence."""
        kept, left = (sum(row.state == state for row in self.rows) for state in ("default", "unfinished"))
        parts = [f"{self.tuned} of {len(self.rows)} shapes got a faster config", f"{kept} keep the server's default"]
        compared = [row.rivals for row in self.rows if row.rivals]
        if compared:
            ours = sum(rivals.runs in (RUNS_OURS, RUNS_TOGETHER) for rivals in compared)
            parts.append(f"with the plug-in {ours} of {len(compared)} run ours")
        return ", ".join([*parts, f"{left} are not finished"] if left else parts) + "."

    def to_json(self) -> dict[str, Any]:
        savings = [
            asdict(each) | {"saved_us": each.saved_us, "speedup": each.speedup, "plugin_saved_us": each.plugin_saved_us}
            for each in self.savings
        ]
        return asdict(self) | {"rows": [row.to_json() for row in self.rows], "savings": savings}
