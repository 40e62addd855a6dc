"""Joins an Optuna study with what it is about and what became of it, to be run."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from autotune.contract.space import Space
from autotune.errors import InputError
from autotune.measure import recording
from autotune.measure.settings import MeasureSettings
from autotune.study import attributes, overview
from autotune.study.head_to_head import HeadToHead
from autotune.study.membership import Membership
from autotune.study.result import GroupResult, StudyResult
from autotune.study.spaces import space_of
from autotune.study.spec import StudySpec
from autotune.study.stored_study import StoredStudy
from autotune.study.stored_trial import StoredTrial
from autotune.untrusted.names import check_name


class KernelStudy(StoredStudy):
    """An Optuna study of one problem of a kernel; what is not on its trials stands in its attributes.

    Args:
        storage: Where the study is.
        number: Optuna's number of it there; looked up when it is needed where it is not known.
    """

    def __init__(self, study: optuna.Study, spec: StudySpec, storage: BaseStorage, number: int | None = None) -> None:
        super().__init__(study.study_name, spec)
        self.study = study
        self._storage = storage
        self._known_number = number

    @property
    def user_attrs(self) -> attributes.Attributes:
        return self._overview.attributes_of(self._number)

    @property
    def _overview(self) -> overview.Overview:
        # A run asks for attributes a thousand times, and for the trials of all that is a neighbour or exported.
        # `Study.user_attrs` takes three times as long, and `Study.get_trials` six times where another process stores.
        return overview.of(self._storage)

    @cached_property
    def _number(self) -> int:
        known = self._known_number
        return self._storage.get_study_id_from_name(self.name) if known is None else known

    def trials(self) -> list[StoredTrial]:
        return self._overview.trials(self._number)

    def count_trials(self) -> int:
        return self._storage.get_n_trials(self._number)

    @property
    def settings(self) -> MeasureSettings:
        """How it is measured; a replay takes the defaults where it needs any."""
        return self.spec.settings or MeasureSettings()

    def finish(self, result: StudyResult) -> None:
        attributes.write_result(self.study, result)

    def reopen(self) -> None:
        """Takes the result back, and that of its group, so that a run goes on with the search."""
        attributes.write_result(self.study, None)
        if self.group_result is not None:
            attributes.write_group_result(self.study, None)

    def keep_head_to_head(self, found: HeadToHead | None) -> None:
        """Keeps a comparison; None forgets the one that there is."""
        attributes.write_head_to_head(self.study, found)

    def finish_group(self, result: GroupResult) -> None:
        attributes.write_group_result(self.study, result)

    @property
    def searched(self) -> bool:
        """Whether a member of a group has done its own search, which knows nothing of the group."""
        return attributes.searched(self.user_attrs)

    def mark_searched(self) -> None:
        attributes.write_searched(self.study)

    def join(self, plan: str, membership: Membership) -> None:
        attributes.write_membership(self.study, plan, membership)

    def leave(self, plan: str) -> None:
        attributes.erase_membership(self.study, plan)

    def open_space(self, recorded_dir: Path) -> Space:
        """Builds the study's space again.

        Raises:
            InputError: If it is no longer the one the study was created with.
        """
        if self.spec.backend == "replay":
            space = self.open_recording(recorded_dir).space
        else:
            space = space_of(self.kernel, self.problem, self.gpu, self.spec.space)
        if space.fingerprint != self.spec.space_fingerprint:
            raise InputError(
                f"study {self.name}: its space {self.spec.space!r} has changed since it was created; "
                f"delete it (study delete {self.name}) and create it again"
            )
        return space

    def open_recording(self, recorded_dir: Path) -> recording.Recording:
        name = check_name(self.spec.space, f"study {self.name}: its recording")
        return recording.load(recorded_dir / (name + recording.SUFFIX))
