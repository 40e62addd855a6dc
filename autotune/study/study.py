"""Joins an Optuna study with what it is about and what became of it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import optuna

from autotune.contract import AnyKernel, Call, Gpu, Problem
from autotune.contract.space import Space
from autotune.errors import InputError
from autotune.measure import recording
from autotune.measure.settings import MeasureSettings
from autotune.study import attributes
from autotune.study.head_to_head import HeadToHead
from autotune.study.membership import Membership
from autotune.study.result import GroupResult, StudyResult
from autotune.study.spec import StudySpec
from autotune.study.summary import StudySummary
from autotune.untrusted.names import check_name


class KernelStudy:
    """An Optuna study of one problem of a kernel; what is not on its trials stands in its attributes."""

    def __init__(self, study: optuna.Study, spec: StudySpec) -> None:
        self.study = study
        self.spec = spec

    @property
    def name(self) -> str:
        return self.study.study_name

    @cached_property
    def kernel(self) -> AnyKernel:
        return self.spec.load_kernel()

    @cached_property
    def problem(self) -> Problem:
        return self.kernel.problem_type.from_json(self.spec.problem)

    @property
    def gpu(self) -> Gpu:
        return self.spec.gpu

    @property
    def call(self) -> Call | None:
        """The server's lookup, by a server with the Triton version that was measured with."""
        return self.spec.server_call

    @property
    def settings(self) -> MeasureSettings:
        """How it is measured; a replay takes the defaults where it needs any."""
        return self.spec.settings or MeasureSettings()

    @property
    def result(self) -> StudyResult | None:
        """What became of the study; None while it is unfinished."""
        return attributes.result(self.study.user_attrs)

    def finish(self, result: StudyResult) -> None:
        attributes.write_result(self.study, result)

    def reopen(self) -> None:
        """Takes the result back, and that of its group, so that a run goes on with the search."""
        attributes.write_result(self.study, None)
        if self.group_result is not None:
            attributes.write_group_result(self.study, None)

    @property
    def head_to_head(self) -> HeadToHead | None:
        """How the study's config did against the other ways to do its work; None while it has not met them."""
        found, result = attributes.head_to_head(self.study.user_attrs), self.result
        is_of_result = (
            found is not None and result is not None and found.ours.contenders[0].config == result.decision.config
        )
        return found if is_of_result else None

    def keep_head_to_head(self, found: HeadToHead | None) -> None:
        """Keeps a comparison; None forgets the one that there is."""
        attributes.write_head_to_head(self.study, found)

    @property
    def group_result(self) -> GroupResult | None:
        """What was decided for the group that the study is a member of; None while the group is unfinished."""
        return attributes.group_result(self.study.user_attrs)

    def finish_group(self, result: GroupResult) -> None:
        attributes.write_group_result(self.study, result)

    @property
    def summary(self) -> StudySummary:
        """All that the study knows, except its trials, by one look into the storage."""
        kept = self.study.user_attrs
        return StudySummary(self.name, self.spec, attributes.result(kept), attributes.group_result(kept))

    @property
    def searched(self) -> bool:
        """Whether a member of a group has done its own search, which knows nothing of the group."""
        return attributes.searched(self.study.user_attrs)

    def mark_searched(self) -> None:
        attributes.write_searched(self.study)

    def membership(self, plan: str) -> Membership | None:
        """Returns the study's place in a plan; None if it is not in it."""
        return attributes.memberships(self.study.user_attrs).get(plan)

    @property
    def plans(self) -> list[str]:
        """Names of the plans that the study is in."""
        return list(attributes.memberships(self.study.user_attrs))

    def join(self, plan: str, membership: Membership) -> None:
        attributes.write_membership(self.study, plan, membership)

    def open_space(self, recorded_dir: Path) -> Space:
        """Builds the study's space again.

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
        name = check_name(self.spec.space, f"study {self.name}: its recording")
        return recording.load(recorded_dir / (name + recording.SUFFIX))
