"""Synthetic recordings: replays of problems that nobody measured."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from autotune.contract import Config
from autotune.measure.recording import Recording
from autotune.search.neighbour import Neighbour


def write_machine(folder: Path, triton: str | None = None) -> None:
    """Says where the recordings of a folder were made, and with which Triton if that is known."""
    folder.mkdir(exist_ok=True)
    versions = f'triton = "{triton}"\n' if triton else ""
    (folder / "machine.toml").write_text(
        f'[environment]\ngpu = "NVIDIA H200"\n{versions}[measured]\ncopy_bandwidth_bytes_per_s = 4e12\n'
    )


def write_recording(
    folder: Path, name: str, times_us: Sequence[tuple[Config, float]], spread: tuple[float, float] = (0.999, 1.001)
) -> None:
    """Writes the recording of this name.

    Args:
        times_us: Configs and their times, the default first.
        spread: Shortest and longest time of a config, as multiples of it.
    """
    names = list(times_us[0][0])
    with gzip.open(folder / f"{name}.csv.gz", "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "status", "compile_s", "ms", "ms_min", "ms_max"])
        for config, time_us in times_us:
            values: Mapping[str, object] = config
            ms = time_us / 1e3
            writer.writerow([*(values[n] for n in names), "ok", 0.1, ms, *(ms * factor for factor in spread)])


def neighbour_of(recording: Recording) -> Neighbour:
    """Returns what a finished study of all that a recording measured tells the next one."""
    ok = [(c, m) for c, m in zip(recording.configs, recording.measurements, strict=True) if m.status == "ok"]
    return Neighbour(recording.sizes, [c for c, _ in ok], [math.log(m.median_us) for _, m in ok])
