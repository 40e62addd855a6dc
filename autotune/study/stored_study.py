"""Holds what a storage says of a study: what it is about, what became of it, and its trials."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

from autotune.contract import AnyKernel, Call, Config, Gpu, Problem
from autotune.contract.source import BUILTIN
from autotune.errors import InputError
from autotune.study import attributes
from autotune.study.head_to_head import HeadToHead
from autotune.study.membership import Membership
from autotune.study.result import GroupResult, StudyResult
from autotune.study.spec import StudySpec
from autotune.study.stored_trial import StoredTrial
from autotune.study.summary import StudySummary


class StoredStudy(ABC):
    """A study of one problem of a kernel, for those who read: `autotune.study.overview` reads it without Optuna, and
    `autotune.study.study.KernelStudy` is one that is open to be run."""

    def __init__(self, name: str, spec: StudySpec) -> None:
        self.name = name
        self.spec = spec

    @property
    @abstractmethod
    def user_attrs(self) -> attributes.Attributes:
        """All that is stored of the study beside its trials."""

    @abstractmethod
    def trials(self) -> list[StoredTrial]:
        """Reads its trials, in the order of their creation."""

    @abstractmethod
    def count_trials(self) -> int:
        """Counts its trials, of any state."""

    @cached_property
    def kernel(self) -> AnyKernel:
        return self.spec.load_kernel()

    @cached_property
    def problem(self) -> Problem:
        try:
            return self.kernel.problem_type.from_json(self.spec.problem)
        except InputError as error:
            raise InputError(f"study {self.name}: its problem cannot be read: {error}") from error

    @property
    def own_default(self) -> Config | None:
        """What our kernel launches where no file has an entry; None if that is the incumbent, or of a server's."""
        return self.kernel.own_default(self.problem, self.gpu) if self.spec.source == BUILTIN else None

    @property
    def gpu(self) -> Gpu:
        return self.spec.gpu

    @property
    def call(self) -> Call | None:
        """The server's lookup, by a server with the Triton version that was measured with."""
        return self.spec.server_call

    @property
    def result(self) -> StudyResult | None:
        """What became of the study; None while it is unfinished."""
        return attributes.result(self.user_attrs)

    @property
    def head_to_head(self) -> HeadToHead | None:
        """How the study's config did against the other ways to do its work; None while it has not met them."""
        kept = self.user_attrs
        found, result = attributes.head_to_head(kept), attributes.result(kept)
        is_of_result = (
            found is not None and result is not None and found.ours.contenders[0].config == result.decision.config
        )
        return found if is_of_result else None

    @property
    def group_result(self) -> GroupResult | None:
        """What was decided for the group that the study is a member of; None while the group is unfinished."""
        return attributes.group_result(self.user_attrs)

    @property
    def summary(self) -> StudySummary:
        """All that the study knows, except its trials, by one look into the storage."""
        kept = self.user_attrs
        return StudySummary(self.name, self.spec, attributes.result(kept), attributes.group_result(kept))

    def membership(self, plan: str) -> Membership | None:
        """Returns the study's place in a plan; None if it is not in it."""
        return attributes.memberships(self.user_attrs).get(plan)

    @property
    def plans(self) -> list[str]:
        """Names of the plans that the study is in."""
        return list(attributes.memberships(self.user_attrs))
