"""Writes a recorded space, as `autotune.measure.recording` reads it, and says beside it what was recorded."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from autotune.contract import AnyKernel, Config, Problem
from autotune.environment import Environment
from autotune.errors import InputError
from autotune.measure import recording
from autotune.measure.result import Measurement

_MACHINE = "machine.toml"
_AS_RECORDED = {status: word for word, status in recording.STATUS.items()}
HOPELESS = 20.0
"""A config over so many times the best is recorded by its first samples."""


@dataclass(frozen=True)
class NewRecording:
    """A space that is to be recorded, and where.

    Attributes:
        directory: A folder of recordings, of one machine.
        name: Tells the kernel and the problem, as `Kernel.recording` does.
        kernel: The kernel's name, with its source and version.
        source_hash: Of a server's own kernel, the hash of its sources; empty for others.
    """

    directory: Path
    name: str
    kernel: str
    source_hash: str
    environment: Environment

    @classmethod
    def of(cls, directory: Path, kernel: AnyKernel, problem: Problem, environment: Environment) -> NewRecording:
        """Names the recording of a problem, and makes sure that it can be written.

        Raises:
            InputError: If no name tells the problem, or the folder holds it, or holds what another machine recorded.
        """
        name = kernel.recording(problem)
        if name is None:
            raise InputError(
                f"--save-recording: {kernel.name} {problem.label} cannot be told by a recording's name; record a "
                "dense or csgmv problem of the dtype, adapters and workload (--workload prefill) that recordings have"
            )
        origin = kernel.origin()
        own = f"{kernel.source}_{name.partition('_')[2]}"
        found = cls(directory, own, kernel.name, origin.source_hash if origin else "", environment)
        if found.path.exists():
            raise InputError(f"--save-recording: {found.path} is there; remove it, or give another folder")
        if (directory / _MACHINE).exists() and (there := recording.machine(directory).environment) != environment:
            raise InputError(
                f"--save-recording: {directory} holds recordings of {there.known}, this is {environment.known}; give a "
                "folder of its own"
            )
        return found

    @property
    def path(self) -> Path:
        return self.directory / f"{self.name}{recording.SUFFIX}"

    def write(self, measured: Iterable[tuple[Config, Measurement]], copy_bandwidth_bytes_per_s: float) -> None:
        """Writes what was measured, the default first, and what it was measured on."""
        self.directory.mkdir(parents=True, exist_ok=True)
        machine = self.directory / _MACHINE
        about = machine.read_text() if machine.exists() else self._machine(copy_bandwidth_bytes_per_s)
        told = {"kernel": self.kernel, **({"source_hash": self.source_hash} if self.source_hash else {})}
        about += f"\n[recorded.{json.dumps(self.name)}]\n{_lines(told)}"
        self.path.write_bytes(gzip.compress(_table(measured).encode()))
        machine.write_text(about)

    def _machine(self, copy_bandwidth_bytes_per_s: float) -> str:
        measured = f"[measured]\ncopy_bandwidth_bytes_per_s = {copy_bandwidth_bytes_per_s:.4g}\n"
        return f"[environment]\n{_lines(self.environment.known)}\n{measured}"


def _table(measured: Iterable[tuple[Config, Measurement]]) -> str:
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    for position, (config, found) in enumerate(measured):
        if position == 0:
            rows.writerow([*config, "status", "compile_s", "ms", "ms_min", "ms_max"])
        values = ["" if value is None else value for value in config.values()]
        rows.writerow([*values, *_result(found)])
    return text.getvalue()


def _result(found: Measurement) -> list[object]:
    status = _AS_RECORDED.get(found.status, found.status)
    times_us = (found.median_us, min(found.samples_us), max(found.samples_us)) if found.samples_us else ()
    return [status, round(found.compile_s, 3), *(us / 1e3 for us in times_us), *[""] * (3 - len(times_us))]


def _lines(values: dict[str, str]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
