"""Creates, lists and opens the studies of a storage, alone and by group."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Set
from dataclasses import dataclass

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from autotune.errors import InputError, some_of
from autotune.study import attributes, overview
from autotune.study.result import StudyResult
from autotune.study.spec import StudySpec
from autotune.study.study import KernelStudy

METRIC = "median time (us)"


def create(storage: BaseStorage, name: str, spec: StudySpec) -> KernelStudy:
    """Makes a new study; one that a killed creation left empty is taken over.

    Raises:
        InputError: If the storage holds one of that name.
    """
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction=StudyDirection.MINIMIZE,
            pruner=optuna.pruners.NopPruner(),
            load_if_exists=_is_empty(storage, name),
        )
    except optuna.exceptions.DuplicatedStudyError as error:
        raise exists_error(name) from error
    attributes.write_spec(study, spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([METRIC])
    return KernelStudy(study, spec, storage)


def exists_error(name: str) -> InputError:
    """Tells somebody who creates a study that exists what to do instead."""
    return InputError(
        f"study {name} exists; go on with it (study run {name}), skip it (--skip-if-exists), "
        f"remove it (study delete {name}) or give this one a --tag"
    )


def check_free(storage: BaseStorage, wanted: Set[str]) -> None:
    """Refuses names that another program's studies have.

    Raises:
        InputError: If there is one.
    """
    for name in sorted(wanted & {study.study_name for study in storage.get_all_studies()}):
        if not _is_empty(storage, name):
            raise InputError(f"study {name} exists and was not made by this tool; give this one a --tag")


def names(storage: BaseStorage) -> list[str]:
    """Lists the names of the studies that are ours, in order of creation."""
    return list(_attributes(storage))


@dataclass(frozen=True)
class Finished:
    """What a study that has a result says of itself."""

    spec: StudySpec
    result: StudyResult


def finished(storage: BaseStorage) -> dict[str, Finished]:
    """Finds the studies that have a result, by name; to open each would take a hundred times as long."""
    return {name: Finished(spec, result) for name, spec, result in overview.of(storage).finished()}


def load(storage: BaseStorage, name: str) -> KernelStudy:
    """Opens a study.

    Raises:
        InputError: If there is none of that name, or another program made it.
    """
    try:
        number = storage.get_study_id_from_name(name)
    except KeyError as error:
        known = names(storage)
        there = f"{some_of(known)}; see study list" if known else "none; make one with study create"
        raise InputError(f"study: got {name!r}, the storage has: {there}") from error
    if not attributes.is_ours(found := overview.of(storage).attributes_of(number)):
        if _is_empty(storage, name):
            raise InputError(
                f"study {name} was not made by this tool, or its study create was killed: it is empty; create it "
                "again, which takes it over"
            )
        ours = some_of(names(storage)) or "none yet; make one with study create"
        raise InputError(f"study {name} was not made by this tool; its studies here: {ours}")
    study = optuna.load_study(storage=storage, study_name=name, pruner=optuna.pruners.NopPruner())
    return KernelStudy(study, attributes.spec(found), storage, number)


def count_trials(storage: BaseStorage, name: str) -> int:
    """Counts the trials of a study of ours, or of one that is empty.

    Raises:
        InputError: If there is none of that name, or another program made it.
    """
    if _is_empty(storage, name):
        return 0
    return load(storage, name).count_trials()


def delete(storage: BaseStorage, name: str) -> None:
    """Deletes a study with its trials."""
    optuna.delete_study(study_name=name, storage=storage)


def whole_groups(storage: BaseStorage, chosen: Iterable[KernelStudy]) -> list[KernelStudy]:
    """Puts all members of a group in place of any of them; each study comes once."""
    there = {study.name: study for study in chosen}
    names = overview.of(storage).whole_groups(there)
    return [there[name] if name in there else load(storage, name) for name in names]


def _is_empty(storage: BaseStorage, name: str) -> bool:
    """Tells whether a study is there without a trial and a word of what it is about: a study and its spec are stored
    one after the other, and a kill may come between."""
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:
        return False
    return (
        not storage.get_study_user_attrs(study_id)
        and storage.get_study_directions(study_id) == [StudyDirection.MINIMIZE]
        and storage.get_n_trials(study_id) == 0
    )


def _attributes(storage: BaseStorage) -> dict[str, attributes.Attributes]:
    """Reads the attributes of the studies that are ours, by name."""
    return {name: row.attributes for name, row in overview.of(storage).ours.items()}
