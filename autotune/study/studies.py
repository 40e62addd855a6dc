"""Studies: what one is about (`StudySpec`), creating, opening and listing them, and their result.

Everything stands in the Optuna storage: the spec and the result as attributes of the study, measurements on its trials.
"""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from autotune.contract import AnyKernel, Call, Gpu, Problem, registry
from autotune.contract.space import Space
from autotune.errors import InputError, one_of
from autotune.measure import recording

SPEC_ATTR = "autotune"
RESULT_ATTR = "result"
GROUP_RESULT_ATTR = "group result"
METRIC = "median time (us)"
_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class StudySpec:
    """What fixes a study: two measurements of one study may be compared because all of this is equal.

    Attributes:
        kernel: Registry reference of the kernel.
        problem: The problem as JSON.
        call: The server's lookup as JSON; None for a kernel that no server loads configs for.
        source: Whose kernel is timed; ``builtin`` is ours.
        kernel_fingerprint: Hash of the kernel's source.
        backend: ``cuda`` or ``replay``.
        gpu: The GPU as JSON.
        environment: GPU, driver and versions, of this machine or of the recording.
        space: Name of the space preset, or of the recording.
        space_fingerprint: Hash of all configs.
        settings: How it is measured.
        group: Name of the group that its result is decided in; None for a study on its own.
    """

    kernel: str
    problem: dict[str, Any]
    call: dict[str, Any] | None
    source: str
    kernel_fingerprint: str
    backend: str
    gpu: dict[str, Any]
    environment: dict[str, str]
    space: str
    space_fingerprint: str
    settings: dict[str, Any]
    group: str | None = None
    schema_version: int = field(default=_SCHEMA_VERSION)

    @property
    def server_call(self) -> Call | None:
        """The server's lookup, by a server with the Triton version that was measured with."""
        if self.call is None:
            return None
        return replace(Call.from_json(self.call), triton=self.environment.get("triton"))


class KernelStudy:
    """An Optuna study together with what it is about."""

    def __init__(self, study: optuna.Study, spec: StudySpec) -> None:
        self.study = study
        self.spec = spec

    @property
    def name(self) -> str:
        return self.study.study_name

    @cached_property
    def kernel(self) -> AnyKernel:
        return registry.load(self.spec.kernel)

    @cached_property
    def problem(self) -> Problem:
        return self.kernel.problem_type.from_json(self.spec.problem)

    @property
    def gpu(self) -> Gpu:
        return Gpu.from_json(self.spec.gpu)

    @property
    def call(self) -> Call | None:
        """The server's lookup, by a server with the Triton version that was measured with."""
        return self.spec.server_call

    @property
    def result(self) -> dict[str, Any] | None:
        """What the finalists' race decided; None while the study is unfinished."""
        found = self.study.user_attrs.get(RESULT_ATTR)
        return found if isinstance(found, dict) else None

    @property
    def group_result(self) -> dict[str, Any] | None:
        """What was decided for the group that the study is a member of; None while the group is unfinished."""
        found = self.study.user_attrs.get(GROUP_RESULT_ATTR)
        return found if isinstance(found, dict) else None

    def finish_group(self, result: dict[str, Any]) -> None:
        self.study.set_user_attr(GROUP_RESULT_ATTR, result)

    def reopen(self) -> None:
        """Take the result back, so that a run goes on with the search."""
        self.study.set_user_attr(RESULT_ATTR, None)

    def finish(self, result: dict[str, Any]) -> None:
        self.study.set_user_attr(RESULT_ATTR, result)

    def open_space(self, recorded_dir: Path) -> Space:
        """The study's space, made anew.

        Raises:
            InputError: If it is no longer the one the study was created with.
        """
        if self.spec.backend == "replay":
            space = self.open_recording(recorded_dir).space
        else:
            space = Space.build(self.kernel, self.problem, self.gpu, self.spec.space)
        if space.fingerprint != self.spec.space_fingerprint:
            raise InputError(
                f"study {self.name}: its space {self.spec.space!r} has changed since it was created; "
                f"delete it (study delete {self.name}) and create it again"
            )
        return space

    def open_recording(self, recorded_dir: Path) -> recording.Recording:
        return recording.load(recorded_dir / (self.spec.space + recording.SUFFIX))


def create(storage: BaseStorage, name: str, spec: StudySpec) -> KernelStudy:
    """Make a new study.

    Raises:
        InputError: If the storage holds one of that name.
    """
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction=StudyDirection.MINIMIZE,
            pruner=optuna.pruners.NopPruner(),
        )
    except optuna.exceptions.DuplicatedStudyError as error:
        raise exists_error(name) from error
    study.set_user_attr(SPEC_ATTR, asdict(spec))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([METRIC])
    return KernelStudy(study, spec)


def exists_error(name: str) -> InputError:
    """The way out for whoever creates a study that is there."""
    return InputError(
        f"study {name} exists; go on with it (study run {name}), pass it by (--skip-if-exists), "
        f"remove it (study delete {name}) or give this one a --tag"
    )


def names(storage: BaseStorage) -> list[str]:
    """Names of the studies that are ours, in order of creation."""
    summaries = storage.get_all_studies()
    return [s.study_name for s in summaries if SPEC_ATTR in s.user_attrs]


@dataclass(frozen=True)
class Finished:
    """What a study that has a result says of itself."""

    spec: StudySpec
    result: dict[str, Any]


def finished(storage: BaseStorage) -> dict[str, Finished]:
    """The studies that have a result, by name; to open each would take a hundred times as long."""
    found = {s.study_name: s.user_attrs for s in storage.get_all_studies()}
    return {
        name: Finished(StudySpec(**attrs[SPEC_ATTR]), attrs[RESULT_ATTR])
        for name, attrs in found.items()
        if SPEC_ATTR in attrs and isinstance(attrs.get(RESULT_ATTR), dict)
    }


def load(storage: BaseStorage, name: str) -> KernelStudy:
    """Open a study.

    Raises:
        InputError: If there is none of that name, or another program made it.
    """
    try:
        study = optuna.load_study(storage=storage, study_name=name, pruner=optuna.pruners.NopPruner())
    except KeyError as error:
        known = one_of(names(storage)[:10]) or "none; make one with study create"
        raise InputError(f"study: got {name!r}, the storage has: {known}") from error
    if SPEC_ATTR not in study.user_attrs:
        raise InputError(f"study {name} was not made by this tool; name one of: {one_of(names(storage)[:10])}")
    return KernelStudy(study, StudySpec(**study.user_attrs[SPEC_ATTR]))


def members(storage: BaseStorage, group: str) -> list[KernelStudy]:
    """The studies of a group, in order of creation."""
    summaries = storage.get_all_studies()
    found = [s.study_name for s in summaries if s.user_attrs.get(SPEC_ATTR, {}).get("group") == group]
    return [load(storage, name) for name in found]


def whole_groups(storage: BaseStorage, chosen: Iterable[KernelStudy]) -> list[KernelStudy]:
    """The studies and, in place of any member of a group, all members of it; each once."""
    found: dict[str, KernelStudy] = {}
    for study in chosen:
        together = [study] if study.spec.group is None else members(storage, study.spec.group)
        found |= {each.name: each for each in together if each.name not in found}
    return list(found.values())


def by_group(chosen: Iterable[KernelStudy]) -> list[list[KernelStudy]]:
    """What is run and decided together: the members of each group, every other study by itself."""
    found: dict[tuple[str, str], list[KernelStudy]] = {}
    for study in chosen:
        key = ("study", study.name) if study.spec.group is None else ("group", study.spec.group)
        found.setdefault(key, []).append(study)
    return list(found.values())


def kernel_fingerprint(kernel: AnyKernel) -> str:
    """Hash of a kernel's source: its folder and what built-in kernels share, or the one file it lives in."""
    module = Path(inspect.getfile(type(kernel)))
    files = [module]
    if module.name == "kernel.py":
        files = sorted([*module.parent.glob("*.py"), *(module.parents[1] / "common").glob("*.py")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
