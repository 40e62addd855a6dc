"""The linear layers of a decoder block as SGLang's kernels see them, and the table of what tuning saves in each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autotune.report.tables import config_text, percent, us

OPS = ("shrink", "expand")
COLUMNS = ("layer", "kernel", "chunk", "default us", "tuned us", "speed-up", "of floor", "config")


@dataclass(frozen=True)
class BlockLayer:
    """One call of both kernels.

    Attributes:
        columns: Columns of x.
        widths: Output width of each slice.
    """

    name: str
    columns: int
    widths: tuple[int, ...]

    def key(self, op: str) -> tuple[str, int, int]:
        """What tells its studies: op, K and S (contracts B4)."""
        return op, self.columns if op == "shrink" else sum(self.widths), len(self.widths)


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
    config: Mapping[str, int | None] | None

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


def layer_results(layers: Iterable[BlockLayer], studies: Iterable[Mapping[str, Any]]) -> list[LayerResult]:
    """Every layer's results, kernel by kernel, chunk sizes ascending.

    Args:
        studies: As `report.results.summary_json` has them; those without a result, or of no layer, are left out.
    """
    by_key: dict[tuple[str, int, int], list[LayerResult]] = {}
    for study in studies:
        call, result = study["spec"]["call"], study["result"]
        if result is not None and call is not None and call["runtime"] == "sglang":
            dims = call["dims"]
            found = _result(call["op"], dims["chunk_size"], result)
            by_key.setdefault((call["op"], dims["K"], dims["S"]), []).append(found)
    return [
        _of(layer.name, found)
        for layer, op in itertools.product(layers, OPS)
        for found in sorted(by_key.get(layer.key(op), []), key=lambda found: found.chunk_size)
    ]


def cells(result: LayerResult) -> list[str]:
    """A row under `COLUMNS`."""
    speedup = f"{result.speedup:.2f}x" if result.speedup else "-"
    config = "the default" if result.config is None else config_text(dict(result.config))
    times = (us(result.default_us), us(result.tuned_us), speedup, percent(result.of_floor))
    return [result.layer, result.op, str(result.chunk_size), *times, config]


def savings(results: Sequence[LayerResult]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: microseconds that a call of a layer takes less, both kernels together; then a whole block."""
    chunks = sorted({result.chunk_size for result in results})
    names = list(dict.fromkeys(result.layer for result in results))
    saved = {
        (name, chunk): sum(r.saved_us for r in results if (r.layer, r.chunk_size) == (name, chunk))
        for name, chunk in itertools.product(names, chunks)
    }
    rows = [[name, *(us(saved[name, chunk]) for chunk in chunks)] for name in names]
    total = ["all", *(us(sum(saved[name, chunk] for name in names)) for chunk in chunks)]
    return ["saved a layer, us", *(f"chunk {chunk}" for chunk in chunks)], [*rows, total]


def _result(op: str, chunk_size: int, result: Mapping[str, Any]) -> LayerResult:
    config = result["config"] if result["outcome"] == "tuned" else None
    return LayerResult("", op, chunk_size, result["incumbent_us"], result["tuned_us"], result["floor_us"], config)


def _of(name: str, found: LayerResult) -> LayerResult:
    return replace(found, layer=name)
