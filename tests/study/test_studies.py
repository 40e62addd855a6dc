"""What a study is about, and when it refuses to go on: another machine, kernel source, space, or process."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage

from autotune.contract import Config, registry
from autotune.contract.fingerprint import kernel_fingerprint
from autotune.contract.gpu import INTERPRETER
from autotune.contract.space import Space
from autotune.environment import Environment
from autotune.errors import InputError
from autotune.measure.backend import Backend
from autotune.measure.result import Measurement
from autotune.measure.settings import MeasureSettings
from autotune.run.loop import Budget
from autotune.run.neighbours import Neighbourhood
from autotune.run.runner import Runner, RunOptions
from autotune.search import Neighbour
from autotune.study import studies
from autotune.study.spec import StudySpec
from autotune.study.storage import identity, open_storage
from autotune.study.studies import Finished
from autotune.study.study import KernelStudy
from tests.builders.stand_in_backend import StandIn

FILE = Path(__file__).parents[1] / "builders/faulty_kernel.py"
REFERENCE = f"{FILE}:KERNEL"
KERNEL = registry.load(REFERENCE)
PROBLEM = sys.modules[type(KERNEL).__module__].DoubleProblem(64)
HERE = Environment("NVIDIA H200", driver="575.1", cuda="13.0", torch="2.11.0", triton="3.6.0")
SPEC = StudySpec(
    kernel=REFERENCE,
    problem=PROBLEM.to_json(),
    call=None,
    source="builtin",
    kernel_fingerprint=kernel_fingerprint(KERNEL),
    backend="cuda",
    gpu=INTERPRETER,
    environment=HERE,
    space="wide",
    space_fingerprint=Space.build(KERNEL, PROBLEM, INTERPRETER, "wide").fingerprint,
    settings=MeasureSettings(),
)


@pytest.fixture
def storage() -> BaseStorage:
    return InMemoryStorage()


@pytest.fixture(autouse=True)
def _this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(self: Runner, study: KernelStudy) -> Backend:
        return StandIn()

    monkeypatch.setattr("autotune.run.runner.current_environment", lambda: HERE)
    monkeypatch.setattr(Runner, "_backend", backend)


def runner(storage: BaseStorage, *, allow_env_change: bool = False, backend: str = "auto") -> Runner:
    options = RunOptions("sqlite://", Budget(3), backend, sampler="random", allow_env_change=allow_env_change)
    return Runner(storage, options)


def test_a_study_survives_the_storage(storage: BaseStorage) -> None:
    created = studies.create(storage, "one", SPEC)
    loaded = studies.load(storage, "one")
    assert loaded.spec == created.spec == SPEC
    assert loaded.problem == PROBLEM
    assert loaded.kernel is KERNEL
    assert loaded.result is None


def test_a_second_study_of_a_name_is_refused(storage: BaseStorage) -> None:
    studies.create(storage, "one", SPEC)
    with pytest.raises(InputError, match=r"study one exists; go on with it \(study run one\)"):
        studies.create(storage, "one", SPEC)


def test_studies_are_listed_in_order_without_those_of_others(storage: BaseStorage) -> None:
    studies.create(storage, "two", SPEC)
    optuna.create_study(storage=storage, study_name="theirs")
    studies.create(storage, "one", SPEC)
    assert studies.names(storage) == ["two", "one"]
    with pytest.raises(InputError, match="theirs was not made by this tool"):
        studies.load(storage, "theirs")
    with pytest.raises(InputError, match="got 'three', the storage has: two, one"):
        studies.load(storage, "three")


def test_a_study_goes_on_where_it_was_created(storage: BaseStorage) -> None:
    result = runner(storage).run(studies.create(storage, "one", SPEC))
    assert result.decision.outcome == "default"
    assert result.counts == {"ok": 3}


def elsewhere(**differs: str) -> StudySpec:
    return replace(SPEC, environment=replace(HERE, **differs))


ELSEWHERE = [
    pytest.param(elsewhere(**{name: value}), f"{name} {value} -> {HERE.known[name]}", id=name)
    for name, value in (("gpu", "NVIDIA H100"), ("driver", "550.2"), ("torch", "2.9.0"), ("triton", "3.5.1"))
]
ELSEWHERE.append(
    pytest.param(
        replace(SPEC, kernel_fingerprint="0123"), f"kernel source 0123 -> {SPEC.kernel_fingerprint}", id="kernel source"
    )
)


@pytest.mark.parametrize(("spec", "difference"), ELSEWHERE)
def test_a_study_from_elsewhere_is_refused_with_the_difference(
    storage: BaseStorage, spec: StudySpec, difference: str
) -> None:
    created = studies.create(storage, "one", spec)
    with pytest.raises(InputError) as error:
        runner(storage).run(created)
    assert difference in str(error.value)
    assert str(error.value).count("->") == 1, "only what differs is named"
    assert "--allow-env-change" in str(error.value)
    assert "--tag" in str(error.value)
    assert not created.study.trials


@pytest.mark.parametrize(("spec", "difference"), ELSEWHERE)
def test_a_study_from_elsewhere_goes_on_if_that_is_wanted(
    storage: BaseStorage, spec: StudySpec, difference: str
) -> None:
    assert runner(storage, allow_env_change=True).run(studies.create(storage, "one", spec)).counts == {"ok": 3}


@pytest.mark.parametrize("allow_env_change", [False, True])
def test_a_changed_space_is_refused_always(storage: BaseStorage, allow_env_change: bool) -> None:
    created = studies.create(storage, "one", replace(SPEC, space_fingerprint="0123"))
    with pytest.raises(InputError, match=r"study one: its space 'wide' has changed .*study delete one"):
        runner(storage, allow_env_change=allow_env_change).run(created)


def test_another_backend_is_refused(storage: BaseStorage) -> None:
    created = studies.create(storage, "one", SPEC)
    with pytest.raises(InputError, match="study one is a cuda study"):
        runner(storage, backend="replay").run(created)


def test_a_running_study_is_not_run_twice(storage: BaseStorage) -> None:
    created = studies.create(storage, "one", SPEC)
    other = studies.create(storage, "other", SPEC)
    with runner(storage).locked(created):
        with pytest.raises(InputError, match="study one is being run by another process"):
            runner(storage).run(created)
        assert runner(storage).run(other)
    assert runner(storage).run(created)


def test_a_finished_study_keeps_its_result(storage: BaseStorage) -> None:
    created = studies.create(storage, "one", SPEC)
    result = runner(storage).run(created)
    assert runner(storage).run(created) == result
    assert len(created.study.trials) == 3


def test_every_spelling_of_a_file_is_one_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = identity(f"sqlite:///{tmp_path}/a.db")
    (tmp_path / "sub").mkdir()
    assert identity("sqlite:///a.db") == identity("sqlite:///sub/../a.db") == place
    monkeypatch.chdir(tmp_path / "sub")
    assert identity("sqlite:///a.db") != place
    assert identity("postgresql://host/a") == "postgresql://host/a"


def test_sqlite_is_opened_in_wal_mode(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/a.db", create=True)
    studies.create(storage, "one", SPEC)
    with storage.engine.connect() as connection:  # type: ignore[attr-defined]
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    storage.engine.dispose()  # type: ignore[attr-defined]


def test_the_kernel_fingerprint_changes_with_its_source(tmp_path: Path) -> None:
    copy = Path(shutil.copy(FILE, tmp_path / "copy.py"))
    same = registry.load(f"{copy}:KERNEL")
    assert kernel_fingerprint(same) == kernel_fingerprint(KERNEL)
    copy.write_text(copy.read_text() + "# changed\n")
    assert kernel_fingerprint(same) != kernel_fingerprint(KERNEL)


def test_kernels_of_one_folder_tree_have_their_own_fingerprints() -> None:
    prints = {name: kernel_fingerprint(registry.load(name)) for name in registry.installed().names()}
    folders = {type(registry.load(name)).__module__ for name in prints}
    assert len(set(prints.values())) == len(folders)


def test_what_follows_is_compiled_while_a_study_is_decided(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    class Recorded(StandIn):
        def __init__(self, name: str) -> None:
            self.study = name
            happened.append(f"open {name}")

        def compile_ahead(self, configs: Sequence[Config]) -> None:
            if configs:
                happened.append(f"compile {self.study}")

        def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
            happened.append(f"race {self.study}")
            return super().race(configs, rounds)

        def close(self) -> None:
            happened.append(f"close {self.study}")

    monkeypatch.setattr(Runner, "_backend", lambda self, study: Recorded(study.name))
    one, two, three = (studies.create(storage, name, SPEC) for name in ("one", "two", "three"))
    with runner(storage) as running:
        running.run(one, following=two)
        assert list(dict.fromkeys(happened)) == [
            "open one", "compile one", "open two", "compile two", "race one", "close one"
        ]  # fmt: skip
        happened.clear()
        running.run(two, following=three)
        assert "open two" not in happened, "it was open already"
        assert list(dict.fromkeys(happened))[-2:] == ["race two", "close two"]
        happened.clear()
    assert happened == ["close three"], "prepared and never run"


UNPREPARED = [
    pytest.param(replace(SPEC, space_fingerprint="0123"), "its space 'wide' has changed", id="its space"),
    pytest.param(elsewhere(gpu="NVIDIA H100"), "was created elsewhere", id="its machine"),
]


@pytest.mark.parametrize(("spec", "message"), UNPREPARED)
def test_what_cannot_be_prepared_says_so_in_its_own_turn(storage: BaseStorage, spec: StudySpec, message: str) -> None:
    changed = studies.create(storage, "changed", spec)
    with runner(storage) as running:
        assert running.run(studies.create(storage, "one", SPEC), following=changed).counts == {"ok": 3}
        assert running._prepared is None
        with pytest.raises(InputError, match=message):
            running.run(changed)


def test_a_study_is_decided_whatever_is_wrong_with_the_next_ones_neighbours(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def neighbours(self: Neighbourhood, wanted: KernelStudy) -> list[Neighbour]:
        if wanted.name == "next":
            raise InputError("kernel: its file is gone")
        return []

    monkeypatch.setattr(Neighbourhood, "of", neighbours)
    one, following = (studies.create(storage, name, SPEC) for name in ("one", "next"))
    with runner(storage) as running:
        assert running.run(one, following=following).counts == {"ok": 3}
        with pytest.raises(InputError, match="is gone"):
            running.run(following)


def test_what_a_neighbour_timed_is_read_once_for_each_result(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def load(storage: BaseStorage, name: str) -> KernelStudy:
        read.append(name)
        return loaded(storage, name)

    loaded = studies.load
    monkeypatch.setattr(studies, "load", load)
    one, wanted = (studies.create(storage, name, SPEC) for name in ("one", "wanted"))
    hood = Neighbourhood(storage)
    assert hood.of(wanted) == []
    with runner(storage) as running:
        running.run(one)
        (first,) = hood.of(wanted)
        assert hood.of(wanted) == [first]
        assert read == ["one"]
        one.reopen()
        assert hood.of(wanted) == []
        running.options = replace(running.options, budget=Budget(5))
        running.run(one)
    monkeypatch.setattr(studies, "finished", later(studies.finished))
    (again,) = hood.of(wanted)
    assert len(again.configs) > len(first.configs)
    assert read == ["one", "one"]


def later(finished: Callable[[BaseStorage], dict[str, Finished]]) -> Callable[[BaseStorage], dict[str, Finished]]:
    """As if the results were of another second."""

    def found(storage: BaseStorage) -> dict[str, Finished]:
        return {
            name: replace(other, result=replace(other.result, finished="later"))
            for name, other in finished(storage).items()
        }

    return found
