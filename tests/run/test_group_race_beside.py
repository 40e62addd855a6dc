"""A group at a size that was not searched: whole sets of the groups beside it and the defaults race there."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.run.group_runner import GroupRunner
from autotune.run.neighbours import NothingBesideError
from autotune.run.options import Budget, RunOptions
from autotune.run.queue import Turn
from autotune.run.races import RaceQueue
from autotune.run.runner import Runner
from autotune.study import creation, studies
from autotune.study.describe import Request
from autotune.study.result import GroupResult
from autotune.study.study import KernelStudy
from tests.builders import fake_moe_kernels
from tests.builders.mortal_storage import MortalStorage
from tests.builders.recordings import write_machine

FLAGS = {"hidden_size": 2048, "lora_rank": 256, "num_loras": 4, "moe_intermediate_size": 768}
SIZES = (16, 32, 64)
DOWN_SHRINK = "fused_moe_lora_down_shrink"


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Records the group at three sizes; at the largest its down shrink makes another block_m the best."""
    fake_moe_kernels.install(monkeypatch)
    write_machine(tmp_path)
    for m in SIZES:
        with pytest.MonkeyPatch.context() as patched:
            if m == max(SIZES):
                patched.setitem(fake_moe_kernels.TIMES_US, DOWN_SHRINK, (90.0, 90.0, 9.0, 90.0))
            fake_moe_kernels.record_all(tmp_path, {**FLAGS, "m": m})
    return tmp_path


@pytest.fixture
def storage(recorded: Path) -> MortalStorage:
    storage = MortalStorage()
    request = Request("fused_moe_lora", "replay", recorded_dir=recorded)
    creation.create_all(storage, creation.describe_flags(request, FLAGS, SIZES), skip_if_exists=False)
    return storage


def members(storage: MortalStorage, m: int) -> list[KernelStudy]:
    one = next(name for name in studies.names(storage) if f"-m{m}-" in name)
    return studies.whole_groups(storage, [studies.load(storage, one)])


def options(recorded: Path) -> RunOptions:
    return RunOptions("sqlite://", recorded_dir=recorded)


def raced(storage: MortalStorage, recorded: Path, *searched: int) -> GroupResult:
    with Runner(storage, options(recorded)) as runner:
        for m in searched:
            GroupRunner(runner).run(members(storage, m), Budget(40))
        return GroupRunner(runner).race(members(storage, 32))


def test_the_sets_of_both_neighbours_race(storage: MortalStorage, recorded: Path) -> None:
    result = raced(storage, recorded, 16, 64)
    chosen = [group.shared["block_m"] for m in (16, 64) if (group := members(storage, m)[0].group_result)]
    assert chosen == [32, 64]
    assert result.shared == {"block_m": 32}
    assert result.decision.outcome == "tuned"
    for study in members(storage, 32):
        assert study.result is not None
        assert study.result == result.members[study.name]
        assert [name.partition("-m")[2].partition("-")[0] for name in study.result.raced_from] == ["16", "64"]
        configs = [trial.params for trial in study.study.trials]
        assert len(configs) <= 3, "nothing is searched"
        assert study.result.decision.config["block_m"] == 32


def test_one_neighbour_will_do_and_the_default_may_win(storage: MortalStorage, recorded: Path) -> None:
    result = raced(storage, recorded, 64)
    (default,) = {study.open_space(recorded).incumbent["block_m"] for study in members(storage, 32)}
    assert default == 64
    assert result.shared["block_m"] == 64


def test_without_a_neighbour_there_is_nothing_to_race(storage: MortalStorage, recorded: Path) -> None:
    with pytest.raises(NothingBesideError, match="no size beside it has a winner"):
        raced(storage, recorded)


def test_a_raced_group_is_no_neighbour_and_can_be_searched_later(storage: MortalStorage, recorded: Path) -> None:
    raced(storage, recorded, 16)
    for study in members(storage, 32):
        study.reopen()
    with Runner(storage, options(recorded)) as runner:
        result = GroupRunner(runner).run(members(storage, 32), Budget(40))
    assert not any(part.raced_from for part in result.members.values())
    for study in members(storage, 32):
        assert study.group_result == result
        assert len(study.study.trials) > 3


class Ear:
    """Hears what a queue says."""

    def __init__(self) -> None:
        self.results: list[str] = []

    def on_start(self, turn: Turn) -> None: ...
    def on_progress(self, progress: object) -> None: ...
    def on_result(self, turn: Turn, result: object) -> None:
        self.results.append(turn.name)

    def on_failure(self, turn: Turn) -> None: ...
    def on_held(self, turn: Turn, why: str) -> None: ...


def test_the_queue_of_races_takes_groups(storage: MortalStorage, recorded: Path) -> None:
    ear = Ear()
    with Runner(storage, options(recorded)) as runner:
        GroupRunner(runner).run(members(storage, 16), Budget(40))
        queue = RaceQueue(runner, ear)
        queue.run([Turn(members(storage, 32)), Turn(members(storage, 64))])
    assert queue.failures == []
    assert ear.results == [members(storage, m)[0].spec.group for m in (32, 64)]
