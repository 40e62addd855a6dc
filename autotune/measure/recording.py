"""Reads recorded spaces: every measured config of a problem on one GPU, as gzipped CSV
(`studies/recorded/README.md`)."""

from __future__ import annotations

import csv
import fnmatch
import functools
import io
import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from autotune.contract import AnyKernel, Config, Problem, Value
from autotune.contract.source import BUILTIN
from autotune.contract.space import Space
from autotune.environment import Environment
from autotune.errors import InputError
from autotune.measure.result import Measurement, Status
from autotune.untrusted import reading
from autotune.untrusted.names import check_name

RECORDED_DIR = Path(__file__).parents[1] / "studies" / "recorded"
SUFFIX = ".csv.gz"
STATUS: Mapping[str, Status] = {
    "ok": "ok",
    # A single launch was already over 20x the best: hopeless, known by one sample.
    "coarse": "pruned",
    "OutOfResources": "out_of_resources",
    "PTXASError": "compile_error",
}
"""What a recording calls the outcomes of a config; any other word is a crash."""
_RESULT_COLUMNS = ("status", "compile_s", "ms", "ms_min", "ms_max")


@dataclass(frozen=True)
class Recording:
    """One recorded space.

    Attributes:
        path: The file; its name tells the problem, e.g. ``builtin_shrink_M64_K4096_N64_L8_S3.csv.gz``.
        configs: Every config, the server's default first.
        measurements: What came of each, in the same order.
    """

    path: Path
    configs: tuple[Config, ...]
    measurements: tuple[Measurement, ...]

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(SUFFIX)

    @cached_property
    def kernel(self) -> str:
        """Whose kernel and which op, e.g. ``builtin_shrink``: recordings of the same kernel are neighbours."""
        return "_".join(self.name.split("_")[:2])

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The problem's sizes, read off the file name, e.g. ``{"M": 16, "K": 5120, ...}``."""
        return {name: int(value) for name, value in re.findall(r"_([A-Za-z]+)(\d+)", self.name)}

    @cached_property
    def space(self) -> Space:
        return Space(self.configs, self.configs[0])

    @cached_property
    def runs(self) -> bool:
        """Whether any of its configs runs."""
        return any(m.status == "ok" for m in self.measurements)

    @cached_property
    def best_us(self) -> float:
        return min(m.median_us for m in self.measurements if m.status == "ok")

    def measurement(self, config: Config) -> Measurement:
        return self.measurements[self.space.index(config)]


def load(path: Path) -> Recording:
    """Reads one recorded space.

    Raises:
        InputError: If the file is not in the recorded format; names the file and the line.
    """
    try:
        rows = [row for row in csv.reader(io.StringIO(reading.read_gzip_text(path), newline="")) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a readable .csv.gz file ({error})") from error
    if len(rows) < 2 or not set(_RESULT_COLUMNS) <= set(rows[0]):
        raise InputError(f"{path}: needs at least one row and the columns {', '.join(_RESULT_COLUMNS)}")
    header = rows[0]
    # What a folder's owner notes behind the status is no parameter.
    names = list(dict.fromkeys(itertools.takewhile(lambda name: name != "status", header)))
    value = functools.cache(_value)  # thousands of rows hold the same few
    found: dict[tuple[Value, ...], Measurement] = {}
    for line, cells in enumerate(rows[1:], start=2):
        try:
            if len(cells) != len(header):
                raise ValueError(f"a column too {'many' if len(cells) > len(header) else 'few'}")
            row = dict(zip(header, cells, strict=True))
            key = tuple([value(row[name]) for name in names])
            if key in found:
                raise ValueError("this config was there before")
            found[key] = _measurement(row)
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{path}:{line}: not a recorded measurement ({error})") from error
    configs = tuple(dict(zip(names, key, strict=True)) for key in found)
    return Recording(path, configs, tuple(found.values()))


def find(directory: Path = RECORDED_DIR, pattern: str = "*") -> list[Path]:
    """Returns the recorded spaces in a folder whose name matches a glob.

    Raises:
        InputError: If there is no such folder.
    """
    if not directory.is_dir():
        raise InputError(f"--recorded: got {directory}, no such folder; give a folder of *{SUFFIX} files")
    there = [path for path in directory.iterdir() if path.name.endswith(SUFFIX)]
    return sorted(path for path in there if fnmatch.fnmatchcase(path.name.removesuffix(SUFFIX), pattern))


def of_builtin(name: str) -> str:
    """Returns the name of the same problem's recording on the built-in kernel."""
    return f"{BUILTIN}_{name.partition('_')[2]}"


def named_problem(kernel: AnyKernel, name: str) -> Problem | None:
    """Returns the problem that a recording's name tells; None if it tells none, or one that the kernel does not
    know."""
    try:
        return kernel.problem_of_recording(name)
    except (InputError, ArithmeticError, ValueError):
        return None


@dataclass(frozen=True)
class RecordedMachine:
    """Where the recordings of a folder were made: GPU and versions, and its measured copy bandwidth."""

    environment: Environment
    copy_bandwidth_bytes_per_s: float


def machine(directory: Path = RECORDED_DIR) -> RecordedMachine:
    """Reads a folder's ``machine.toml``.

    Raises:
        InputError: If the folder does not say which GPU was recorded.
    """
    path = directory / "machine.toml"
    try:
        found = reading.read_toml(path)
        told = found["environment"]
        versions = {name: str(told[name]) for name in ("driver", "cuda", "torch", "triton") if name in told}
        bandwidth_bytes_per_s = float(found["measured"]["copy_bandwidth_bytes_per_s"])
        if not 0 < bandwidth_bytes_per_s < math.inf:
            raise ValueError(f"copy_bandwidth_bytes_per_s is {bandwidth_bytes_per_s}, allowed: a positive number")
        for name, version in versions.items():
            check_name(version, f"{path}: {name}")
        gpu = check_name(told["gpu"], f"{path}: gpu")
        return RecordedMachine(Environment(gpu, **versions), bandwidth_bytes_per_s)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: must say which GPU was recorded ([environment] gpu, [measured] copy_bandwidth_bytes_per_s); "
            f"{type(error).__name__}: {error}"
        ) from error


def _value(text: str) -> Value:
    return reading.integer(text) if text else None


def _measurement(row: Mapping[str, str]) -> Measurement:
    status = STATUS.get(row["status"], "crashed")
    compile_s = float(row["compile_s"] or 0)
    if not 0 <= compile_s < math.inf:
        raise ValueError("compile_s must not be negative, and finite")
    if status not in ("ok", "pruned"):
        return Measurement(status, message=row["status"], compile_s=compile_s)
    low, mid, high = (float(row[name] or row["ms"]) * 1e3 for name in ("ms_min", "ms", "ms_max"))
    if not 0 < low <= mid <= high < math.inf:
        raise ValueError("times must be positive, ms_min <= ms <= ms_max")
    if status == "pruned":
        return Measurement(status, (mid,), "a single launch was over 20x the best", compile_s=compile_s)
    # A recording keeps the median and the extremes of its seven replays: these seven have the same.
    samples = (mid, low, (mid + high) / 2, mid, (low + mid) / 2, high, mid)
    return Measurement("ok", samples, compile_s=compile_s)
