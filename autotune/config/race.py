"""Finds which side of a difference is faster on this machine's GPU: what a server launches with each is raced.

A side is what a server that reads this side's files launches the entry's call with: the entry itself, or where there is
none, what its lookup comes to instead; of the plug-in's files, the default of its kernel. Both are gated and timed by
the kernel of the call, and a difference inside the noise is none, by the rule of a study's finalists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from autotune import servers
from autotune.config import plug_in
from autotune.config.diff import Difference
from autotune.config.entry_problem import Assumptions, Subject, place_of, subject_of
from autotune.config.sides import ComparedSide, of_two_kernels
from autotune.contract import Call, Config, Gpu, registry
from autotune.contract.source import AUTO, BUILTIN
from autotune.environment import cuda_available, current_gpu
from autotune.errors import AutotuneError, InputError
from autotune.measure.backend import Backend
from autotune.measure.result import Measurement
from autotune.measure.settings import MeasureSettings
from autotune.measure.task import Task
from autotune.run.finalists import compare, slows_a_workload
from autotune.servers import KeyPath, Lookup
from autotune.servers.files import read_json
from autotune.servers.launchable import unlaunchable
from autotune.servers.reverse_lookup import Place

Origin = Literal["entry", "nearest", "other file", "default", "plug-in's default", "none"]
Faster = Literal["a", "b", "same", "mixed"]


@dataclass(frozen=True)
class Bench:
    """A machine to measure on.

    Attributes:
        open: A backend for one problem; it is closed after it.
        rounds: Interleaved replays of each side.
    """

    gpu: Gpu
    open: Callable[[Subject], Backend]
    rounds: int


@dataclass(frozen=True)
class RacedSide:
    """What one side comes to.

    Attributes:
        origin: Where the server finds the config, or the plug-in has it from; ``none`` where the server fails.
        key: The keys its lookup takes.
        config: As the kernel executes it; None where it cannot be launched, and `message` says why.
        message: Also what the server does without a word.
        measurement: None if it was not measured.
    """

    origin: Origin
    key: KeyPath
    config: dict[str, Any] | None
    message: str = ""
    measurement: Measurement | None = None

    @property
    def time_us(self) -> float | None:
        m = self.measurement
        return m.median_us if m is not None and m.status == "ok" else None

    @property
    def status(self) -> str:
        """Of the measurement; ``refused`` where none is possible."""
        if self.measurement is not None:
            return self.measurement.status
        return "refused" if self.config is None else "not measured"

    @property
    def note(self) -> str:
        return "; ".join(text for text in (self.message, self.measurement.message if self.measurement else "") if text)

    def to_json(self) -> dict[str, Any]:
        return {
            "origin": self.origin,
            "key": list(self.key),
            "config": self.config,
            "status": self.status,
            "us": self.time_us,
            "message": self.note,
        }


@dataclass(frozen=True)
class RacedDifference:
    """One difference, measured as far as it can be.

    Attributes:
        subject: What it was measured by; None if that cannot be known.
        faster: ``mixed`` if one side is faster in the mean of the workloads but slower on one of them; None if the
            sides could not be compared.
        gain: Share of the slower side's time that the faster one saves.
        note: Why there is no more to tell.
    """

    difference: Difference
    subject: Subject | None = None
    a: RacedSide | None = None
    b: RacedSide | None = None
    faster: Faster | None = None
    gain: float = 0.0
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        measured = {
            "kernel": None,
            "problem": None,
            **(self.subject.to_json() if self.subject else {}),
            "a": self.a.to_json() if self.a else None,
            "b": self.b.to_json() if self.b else None,
            "faster": self.faster,
            "gain": self.gain,
            "note": self.note,
        }
        return {**self.difference.to_json(), "measured": measured}


@contextmanager
def this_machine(settings: MeasureSettings | None = None) -> Iterator[Bench]:
    """Opens this machine's GPU and the processes that measure on it.

    Raises:
        InputError: If there is none.
    """
    if not cuda_available():
        raise InputError("--measure: no CUDA GPU here; leave it out, or run it on the machine that serves")
    from autotune.measure.machine import Machine  # needs torch, which the plain diff does not

    gpu, chosen = current_gpu(), settings or MeasureSettings()
    with Machine() as machine:
        yield Bench(gpu, lambda s: machine.backend(Task(s.kernel, s.problem, gpu, chosen)), rounds=chosen.race_rounds)


def race(
    differences: Iterable[Difference], sides: tuple[Path, Path], assumptions: Assumptions, bench: Bench
) -> Iterator[RacedDifference]:
    """Races the two sides of each difference; one that cannot be measured says why.

    Args:
        sides: The files or folders that were compared.
    """
    compared = ComparedSide.pair(*sides)
    for difference in differences:
        try:
            yield _measure(difference, compared, assumptions, bench)
        except AutotuneError as error:
            yield RacedDifference(difference, note=str(error))


def _measure(
    difference: Difference, sides: tuple[ComparedSide, ComparedSide], assumptions: Assumptions, bench: Bench
) -> RacedDifference:
    files = [side.file(difference.file) for side in sides]
    place = _place(files, difference.key)
    subject = _subject(place.call, difference.file, sides, assumptions)
    a, b = (
        _side(side, difference.file, entry, place, subject, bench.gpu)
        for side, entry in zip(sides, (difference.a, difference.b), strict=True)
    )
    outcome = RacedDifference(difference, subject, a, b, note=_foreign(place, bench.gpu))
    if a.config is None or b.config is None:
        return outcome
    if a.config == b.config:
        return replace(outcome, faster="same", note="both come to the same launch")
    with closing(bench.open(subject)) as backend:
        first, second = _race(backend, [a.config, b.config], bench.rounds)
    raced = replace(outcome, a=replace(a, measurement=first), b=replace(b, measurement=second))
    if first.status != "ok" or second.status != "ok":
        return raced
    faster, gain = _judge(first, second)
    return replace(raced, faster=faster, gain=gain)


def _subject(call: Call, file: str, sides: tuple[ComparedSide, ComparedSide], assumptions: Assumptions) -> Subject:
    """Returns a problem of the call and the kernel to time: a file of the built-in kernels says nothing of a server's
    own.

    Raises:
        InputError: If the sides are of two kernels, the problem cannot be known, or the kernel asked for cannot be had,
            or does not run it.
    """
    if assumptions.source == AUTO and of_two_kernels(file, *sides):
        raise InputError(
            "the sides are of two kernels, and both are timed on one: name it by --source, or time the kernels against "
            "each other by tune --source both"
        )
    builtin = any(side.by_plug_in(file) for side in sides)
    source = BUILTIN if assumptions.source == AUTO and builtin else assumptions.source
    subject = subject_of(call, replace(assumptions, source=source))
    if refusal := registry.load(subject.kernel).refusal(subject.problem):
        raise InputError(f"{subject.kernel} {subject.problem.label}: {refusal}")
    return subject


def _foreign(place: Place, gpu: Gpu) -> str:
    """Returns a note, if the file is for another GPU than the one that measures."""
    names = {servers.get(place.call.server).file_name(name, place.call) for name in (place.gpu, gpu.name)}
    return "" if len(names) == 1 else f"the file is for {place.gpu}, measured on {gpu.name}"


def _place(files: list[Path], key: KeyPath) -> Place:
    """Reads the place off the second file's name, or off the first one's where that tells nothing."""
    first, second = (file.absolute() for file in files)
    try:
        return place_of(second, key)
    except InputError:
        return place_of(first, key)


def _side(
    side: ComparedSide, name: str, entry: Mapping[str, Any] | None, place: Place, subject: Subject, gpu: Gpu
) -> RacedSide:
    """Returns what a side comes to.

    Args:
        entry: What its file of this name has, if it has anything.
    """
    found, path = _lookup(side, name, place), side.file(name)
    record = side.record(found.path or path, found.key_path)
    if side.by_plug_in(name) and (why := plug_in.why_default(found, record, subject)) is not None:
        return _plug_in_default(found, why, subject, gpu)
    if found.config is None:
        why = f"the server fails: {found.failure.error}: {found.failure.message}" if found.failure else ""
        return RacedSide("none", found.key_path, None, why)
    origin: Origin = "entry"
    if entry is None:
        origin = "default" if found.origin == "default" else "nearest" if path.exists() else "other file"
    config, refusal = _executed(found.config, subject, gpu)
    told = side.meaning(name, entry or {}) or "; ".join(text for text in (*found.warnings, refusal) if text)
    return RacedSide(origin, found.key_path, config, told)


def _plug_in_default(found: Lookup, why: str, subject: Subject, gpu: Gpu) -> RacedSide:
    own = plug_in.default_of(subject, gpu)
    told = why if own is not None else f"{why}; the plug-in leaves it to the server's own kernel, which is faster"
    return RacedSide("plug-in's default", found.key_path, None if own is None else dict(own), told)


def _lookup(side: ComparedSide, name: str, place: Place) -> Lookup:
    """Returns what the server finds in a side's file, or in its folder where there is no such file."""
    server, path, by_plug_in = servers.get(place.call.server), side.file(name), side.by_plug_in(name)
    if path.exists():
        return server.resolve(read_json(path), place.call, by_plug_in)
    depth = len(Path(server.file_name(place.gpu, place.call)).parts)
    return server.lookup(path.absolute().parents[depth - 1], place.gpu, place.call, by_plug_in=by_plug_in)


def _executed(found: Config, subject: Subject, gpu: Gpu) -> tuple[dict[str, Any] | None, str]:
    """Returns the kernel's own parameters of a config, in canonical form, or None and why it cannot launch with
    them."""
    kernel, problem = registry.load(subject.kernel), subject.problem
    default = kernel.default_config(problem, gpu)
    config = {name: found.get(name, value) for name, value in default.items()}
    # Null is a choice only where the default leaves it to the compiler, too.
    chosen = {name: value for name, value in config.items() if value is not None or default[name] is not None}
    if wrong := [f"{name}: {why}" for name, why in unlaunchable(chosen)]:
        return None, f"the kernel does not take {'; '.join(wrong)}"
    if why := kernel.unfit(problem, config):
        return None, why
    return dict(kernel.canonical(problem, config, gpu)), ""


def _race(backend: Backend, configs: list[dict[str, Any]], rounds: int) -> list[Measurement]:
    """Gates and times each side alone, then races them if both are right."""
    backend.compile_ahead(configs)
    alone = [backend.measure(config, None) for config in configs]
    return backend.race(configs, rounds) if all(m.status == "ok" for m in alone) else alone


def _judge(a: Measurement, b: Measurement) -> tuple[Faster, float]:
    """Tells which is faster beyond the noise, and by how much."""
    pairs: tuple[tuple[Faster, Measurement, Measurement], ...] = (("a", a, b), ("b", b, a))
    for name, mine, other in pairs:
        verdict = compare(mine.samples_us, other.samples_us)
        if verdict.faster:
            return ("mixed" if slows_a_workload(mine, other) else name), verdict.gain
    return "same", 0.0
