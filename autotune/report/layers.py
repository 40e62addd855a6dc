"""Makes the table of what tuning saves in each linear layer of a decoder block."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autotune.contract import Config
from autotune.report.tables import config_text, percent, us
from autotune.servers.command_line import BlockLayer
from autotune.study.result import StudyResult
from autotune.study.summary import StudySummary

OPS = ("shrink", "expand")
COLUMNS = ("layer", "kernel", "chunk", "default us", "tuned us", "speed-up", "of floor", "config")


@dataclass(frozen=True)
class LayerResult:
    """One study, as the result of a layer; layers with equal keys share it.

    Attributes:
        default_us: None if the default config does not run there.
        floor_us: None if the bandwidth is not known.
        config: None if the default stays.
    """

    layer: str
    op: str
    chunk_size: int
    default_us: float | None
    tuned_us: float
    floor_us: float | None
    config: Config | None

    @property
    def speedup(self) -> float | None:
        return self.default_us / self.tuned_us if self.default_us else None

    @property
    def saved_us(self) -> float:
        return self.default_us - self.tuned_us if self.default_us else 0.0

    @property
    def of_floor(self) -> float | None:
        """Share of the time that moving the bytes would take."""
        return self.floor_us / self.tuned_us if self.floor_us else None


def layer_results(layers: Iterable[BlockLayer], studies: Iterable[StudySummary]) -> list[LayerResult]:
    """Returns every layer's results, kernel by kernel, chunk sizes ascending.

    Args:
        studies: Those without a result, or of no layer, are left out.
    """
    finished = [
        (study.spec.call, study.result) for study in studies if study.result is not None and study.spec.call is not None
    ]
    results = []
    for layer, op in itertools.product(layers, OPS):
        found = [
            _result(layer.name, op, size, result)
            for call, result in finished
            if (size := layer.size_of(op, call)) is not None
        ]
        results += sorted(found, key=lambda result: result.chunk_size)
    return results


def cells(result: LayerResult) -> list[str]:
    """Returns a row under `COLUMNS`."""
    speedup = f"{result.speedup:.2f}x" if result.speedup else "-"
    config = "the default" if result.config is None else config_text(result.config)
    times = (us(result.default_us), us(result.tuned_us), speedup, percent(result.of_floor))
    return [result.layer, result.op, str(result.chunk_size), *times, config]


def savings(results: Sequence[LayerResult]) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows of a table: the microseconds that a call of a layer takes less, both kernels together;
    then a whole block."""
    chunks = sorted({result.chunk_size for result in results})
    names = list(dict.fromkeys(result.layer for result in results))
    saved = {
        (name, chunk): sum(r.saved_us for r in results if (r.layer, r.chunk_size) == (name, chunk))
        for name, chunk in itertools.product(names, chunks)
    }
    rows = [[name, *(us(saved[name, chunk]) for chunk in chunks)] for name in names]
    total = ["all", *(us(sum(saved[name, chunk] for name in names)) for chunk in chunks)]
    return ["saved a layer, us", *(f"chunk {chunk}" for chunk in chunks)], [*rows, total]


def _result(layer: str, op: str, chunk_size: int, result: StudyResult) -> LayerResult:
    decision = result.decision
    return LayerResult(
        layer=layer,
        op=op,
        chunk_size=chunk_size,
        default_us=decision.incumbent_us,
        tuned_us=decision.tuned_us,
        floor_us=result.floor_us,
        config=decision.config if decision.outcome == "tuned" else None,
    )
