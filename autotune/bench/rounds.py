"""Runs the rounds of an end-to-end run: one process of the engine for each variant, stored as it ends."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cattrs.preconf.json import make_converter

from autotune import __version__
from autotune.bench import evidence, variants
from autotune.bench.evidence import Evidence
from autotune.bench.serve_folder import ServeFolder
from autotune.bench.variants import Variant
from autotune.environment import gpu_of_driver, installed_version
from autotune.errors import AutotuneError
from autotune.servers import places, trace_line
from autotune.servers.engine import Engine, EngineJob, EngineResult
from autotune.untrusted import reading

_CONVERTER = make_converter()
_LAST_LINES = 5
_FORMAT = 2
"""Of what is stored: a round of another one is run again."""


@dataclass(frozen=True)
class ServeRun:
    """What is run.

    Attributes:
        job: Of a variant that uses its adapters.
        folder: The config files that variants are given.
        store: Where finished processes are kept, by what they depend on.
        timeout_s: Longest that one process may take.
        notes: What is left out, and why.
    """

    engine: Engine
    job: EngineJob
    folder: ServeFolder
    variants: tuple[Variant, ...]
    rounds: int
    store: Path
    timeout_s: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FinishedProcess:
    """One process that ended well."""

    turn: int
    variant: Variant
    result: EngineResult
    shown: Evidence


OnProcess = Callable[[str], None]


def run(serve_run: ServeRun, say: OnProcess = lambda line: None) -> list[FinishedProcess]:
    """Runs every process that is not stored yet, in their order; returns all.

    Raises:
        AutotuneError: If an engine does not start or ends badly; what ended before stays stored.
    """
    finished = []
    for turn, variant in variants.order(serve_run.variants, serve_run.rounds):
        place = _place(serve_run, turn, variant)
        stored = place.with_suffix(".json")
        if not stored.exists() or (variant.trace and not variant.trace.exists()):
            say(f"round {turn + 1} of {serve_run.rounds}: {variant.name} ({variant.about})")
            _run_process(serve_run, variant, place)
        result = replace(_stored(stored), log=_log(place))
        shown = evidence.of(serve_run.engine, result)
        try:
            evidence.check(variant, serve_run.folder, shown, result.gpu)
        except AutotuneError as error:
            # What it was not is not kept: the next run starts it again.
            stored.unlink()
            raise AutotuneError(f"{error}; see {place.with_suffix('.log')}") from error
        finished.append(FinishedProcess(turn, variant, result, shown))
    return finished


def environment(serve_run: ServeRun, variant: Variant) -> dict[str, str]:
    """Returns what a variant's process finds in its environment."""
    name, served = serve_run.engine.folder_variable, serve_run.folder.served
    ours = (name, places.SWITCH, places.VARIABLE, trace_line.VARIABLE)
    inherited = {key: value for key, value in os.environ.items() if key not in ours}
    folder = {name: str(served)} if variant.reads_folder and served else {}
    return {**inherited, **folder, **variant.environment}


def job_of(serve_run: ServeRun, variant: Variant) -> EngineJob:
    """Returns the job of a variant's process."""
    lora = serve_run.job.lora
    if variant.lora == "off" or lora is None:
        return replace(serve_run.job, lora=None)
    return replace(serve_run.job, lora=replace(lora, used=variant.lora == "used"))


def _run_process(serve_run: ServeRun, variant: Variant, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    job_file, log_file = place.with_suffix(".job"), place.with_suffix(".log")
    job_file.write_text(_CONVERTER.dumps(job_of(serve_run, variant)))
    command = serve_run.engine.command(job_file, place.with_suffix(".json"))
    place.with_suffix(".json").unlink(missing_ok=True)
    traced_bytes = _bytes_of(variant.trace)
    with log_file.open("w") as log:
        # A session of its own: the engine's children end with it.
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment(serve_run, variant), start_new_session=True
        )
        try:
            code = process.wait(serve_run.timeout_s)
        except subprocess.TimeoutExpired as error:
            raise AutotuneError(
                f"variant {variant.name}: the engine took longer than {serve_run.timeout_s:g} s and was killed; give "
                f"--engine-timeout; its log: {log_file}"
            ) from error
        finally:
            _kill_group(process)
    if code or not place.with_suffix(".json").exists():
        log_text = log_file.read_text(errors="replace")
        why = serve_run.engine.why_it_ended(log_text)
        said = f"{why}; its last lines: " if why else "its last lines: "
        raise AutotuneError(
            f"variant {variant.name}: the engine ended with exit code {code}; {said}{_last_lines(log_text)}; "
            f"its log: {log_file}"
        )
    if variant.trace and _bytes_of(variant.trace) == traced_bytes:
        # What it was not is not kept, as above.
        place.with_suffix(".json").unlink()
        said = serve_run.engine.recorder_said(_log(place)) or "the engine's log has no line of the plug-in's recorder"
        raise AutotuneError(f"variant {variant.name}: nothing was recorded in {variant.trace}: {said}; see {log_file}")


def _bytes_of(file: Path | None) -> int:
    """Returns how much a file holds; 0 where there is none."""
    return file.stat().st_size if file and file.exists() else 0


def _last_lines(log: str) -> str:
    lines = [line for line in log.splitlines() if line.strip()]
    return " | ".join(lines[-_LAST_LINES:]) or "it said nothing"


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _stored(file: Path) -> EngineResult:
    """Reads what a process has stored.

    Raises:
        AutotuneError: If somebody has damaged it since.
    """
    try:
        return _CONVERTER.loads(reading.read_text(file), EngineResult)
    except Exception as error:  # cattrs has no common type for what can be wrong with the data
        raise AutotuneError(
            f"{file}: is no round that can be read ({type(error).__name__}); delete it, and that round is run again"
        ) from error


def _log(place: Path) -> str:
    return place.with_suffix(".log").read_text(errors="replace")


def _place(serve_run: ServeRun, turn: int, variant: Variant) -> Path:
    """Returns where a process is stored: a path for each job, machine, set of variables and contents of the folder."""
    served = serve_run.folder.served_contents() if variant.reads_folder else {}
    builtin = serve_run.folder.builtin_contents() if variant.with_plugin else {}
    contents = [_FORMAT, served, builtin, __version__ if variant.with_plugin else ""]
    versions = [installed_version(name) for name in (serve_run.engine.package, "torch", "triton")]
    job = _CONVERTER.dumps(job_of(serve_run, variant))
    about = [job, versions, gpu_of_driver(), _own_variables(serve_run, variant), contents]
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    return serve_run.store / f"{variant.name}-{key}" / f"round{turn + 1}"


def _own_variables(serve_run: ServeRun, variant: Variant) -> dict[str, str]:
    """Returns the variables that change what is measured: the server's own and the plug-in's, inherited or not, and the
    variant's."""
    prefixes = (f"{serve_run.engine.package.upper()}_", *([places.PREFIX] if variant.with_plugin else []))
    given = environment(serve_run, variant)
    return {name: value for name, value in given.items() if name.startswith(prefixes) or name in variant.environment}


def names(finished: Sequence[FinishedProcess]) -> list[str]:
    """Returns the variants' names, in the order of their first processes."""
    return list(dict.fromkeys(each.variant.name for each in finished))
