"""Describes a problem's study, its name and spec: on this machine's GPU, or on a recording of another."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from autotune.contract import AnyKernel, Problem, registry
from autotune.contract.fingerprint import kernel_fingerprint
from autotune.contract.gpu import H200, underscored
from autotune.contract.source import AUTO, BUILTIN
from autotune.environment import cuda_available, current_environment, current_gpu
from autotune.errors import InputError, one_of
from autotune.measure import recording
from autotune.measure.settings import MeasureSettings
from autotune.study.sources import reference, refuse_unrunnable
from autotune.study.spaces import space_of
from autotune.study.spec import StudySpec
from autotune.untrusted.names import MOST_CHARACTERS
from autotune.untrusted.printing import shortened


@dataclass(frozen=True)
class Request:
    """How the studies of a command are made.

    Attributes:
        kernel: Registry reference, e.g. ``lora_shrink`` or ``path/to/file.py:NAME``; filled in by what makes the
            studies.
        backend: One of `autotune.measure.backend.BACKENDS`.
        space: Name of the kernel's space preset; None for its default.
        tag: Added to the name, to keep a study apart from another one of the same problem.
        source: One of `SOURCES`: the kernel of the installed server, ours, or whichever can be had; or `BOTH`, which
            what makes the studies takes apart.
        allow_unknown_server: Time a server's own kernel although its release is not known.
    """

    kernel: str = ""
    backend: str = "auto"
    space: str | None = None
    tag: str = ""
    recorded_dir: Path = recording.RECORDED_DIR
    settings: MeasureSettings = field(default_factory=MeasureSettings)
    source: str = AUTO
    allow_unknown_server: bool = False


def backend_of(request: Request) -> str:
    """Returns the backend that a request comes to: ``cuda`` or ``replay``."""
    if request.backend != "auto":
        return request.backend
    return "cuda" if cuda_available() else "replay"


def timed_kernel(request: Request) -> str:
    """Returns the reference of the kernel that a request comes to time.

    Raises:
        InputError: As `autotune.study.sources.reference` does.
    """
    return reference(request.kernel, request.source, backend_of(request), request.allow_unknown_server)


def describe(request: Request, problem: Problem) -> tuple[str, StudySpec]:
    """Returns the name and the spec of the study of one problem.

    Raises:
        InputError: If there is no GPU, or no recording of this problem, for the backend asked for.
    """
    backend = backend_of(request)
    request = replace(request, kernel=timed_kernel(request))
    kernel = registry.load(request.kernel)
    refuse_unrunnable(kernel, problem)
    if not request.tag.isprintable() or not re.fullmatch(rf"[^\s/\\]{{0,{MOST_CHARACTERS}}}", request.tag):
        raise InputError(
            f"--tag: got {shortened(request.tag)}, allowed: {MOST_CHARACTERS} printable characters without blanks, "
            "/ or \\, as it ends names; spell it so"
        )
    spec = _on_recording(request, kernel, problem) if backend == "replay" else _on_gpu(request, kernel, problem)
    return _name(request, kernel, problem, spec), spec


def _on_gpu(request: Request, kernel: AnyKernel, problem: Problem) -> StudySpec:
    gpu = current_gpu()
    preset = request.space or kernel.spaces[0]
    return StudySpec(
        kernel=registry.absolute(request.kernel),
        problem=problem.to_json(),
        call=kernel.call(problem),
        source=kernel.source,
        kernel_fingerprint=kernel_fingerprint(kernel),
        backend="cuda",
        gpu=gpu,
        environment=current_environment(),
        space=preset,
        space_fingerprint=space_of(kernel, problem, gpu, preset).fingerprint,
        settings=request.settings,
    )


def _on_recording(request: Request, kernel: AnyKernel, problem: Problem) -> StudySpec:
    path = _recording_path(request, kernel, problem)
    environment = recording.machine(request.recorded_dir).environment
    return StudySpec(
        kernel=registry.absolute(request.kernel),
        problem=problem.to_json(),
        call=kernel.call(problem),
        source=path.name.split("_")[0],
        # A storage may name a file only by what was in it.
        kernel_fingerprint=kernel_fingerprint(kernel) if ":" in request.kernel else "recorded",
        backend="replay",
        gpu=replace(H200, name=environment.gpu),
        environment=environment,
        space=path.name.removesuffix(recording.SUFFIX),
        space_fingerprint=recording.load(path).space.fingerprint,
        settings=None,
    )


def _recording_path(request: Request, kernel: AnyKernel, problem: Problem) -> Path:
    if request.space is not None:
        raise InputError(f"--space: got {request.space!r} for a replay, whose space is the recording; leave it out")
    name = kernel.recording(problem)
    available = recording.find(request.recorded_dir)
    by_name = {path.name: path for path in available}
    for each in [recording.of_builtin(name), name] if request.source == BUILTIN and name else [name]:
        if (path := by_name.get(f"{each}{recording.SUFFIX}")) is not None:
            return path
    why, way_out = "", "replay a recorded problem"
    if request.backend == "auto":
        why, way_out = "no CUDA GPU here, and ", "tune on a machine with a GPU, or replay a recorded problem"
    names = (path.name.removesuffix(recording.SUFFIX) for path in available)
    recorded = one_of(each for each in names if recording.named_problem(kernel, each) is not None)
    raise InputError(
        f"--backend {request.backend}: {why}{kernel.name} {problem.label} has no recording in "
        f"{request.recorded_dir.name}/; {way_out} of the kernel: {recorded or 'there is none'}"
    )


def _name(request: Request, kernel: AnyKernel, problem: Problem, spec: StudySpec) -> str:
    parts = [kernel.name, problem.label, underscored(spec.environment.gpu)]
    if spec.backend == "replay":
        parts += ["replay"] if spec.space == kernel.recording(problem) else ["replay", spec.source]
    elif spec.space != kernel.spaces[0]:
        parts.append(spec.space)
    return "-".join([*parts, *([request.tag] if request.tag else [])])
