"""A group that is killed, at whatever write, ends as if nobody had killed it: nothing measured twice, one result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial

from autotune.contract import Config
from autotune.measure.recording import Recording
from autotune.measure.replay import ReplayBackend
from autotune.measure.result import Measurement
from autotune.run.group_choice import Standing
from autotune.run.group_member import GroupMember
from autotune.run.group_runner import GroupRunner
from autotune.run.loop import SearchLoop
from autotune.run.options import Budget, RunOptions
from autotune.run.runner import Runner
from autotune.study import creation, studies
from autotune.study.describe import Request
from autotune.study.result import GroupResult
from autotune.study.study import KernelStudy
from tests.builders import fake_moe_kernels
from tests.builders.mortal_storage import Killed, MortalStorage
from tests.builders.recordings import write_machine
from tests.builders.stand_in_backend import StandInBackends

FLAGS = {"m": 16, "hidden_size": 2048, "lora_rank": 256, "num_loras": 4, "moe_intermediate_size": 768}


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake_moe_kernels.install(monkeypatch)
    write_machine(tmp_path)
    fake_moe_kernels.record_all(tmp_path, FLAGS)
    return tmp_path


def new_group(recorded: Path) -> MortalStorage:
    storage = MortalStorage()
    request = Request("fused_moe_lora", "replay", recorded_dir=recorded)
    values = {**FLAGS, "m": None, "batch_size": 16}
    creation.create_all(storage, creation.describe_flags(request, values, ()), skip_if_exists=False)
    return storage


def members(storage: MortalStorage) -> list[KernelStudy]:
    return studies.whole_groups(storage, [studies.load(storage, studies.names(storage)[0])])


def run(storage: MortalStorage, recorded: Path, last_write: int | None = None) -> GroupResult | None:
    """Runs the group as a fresh process would; None if it was killed."""
    storage.writes, storage.last_write = 0, last_write
    options = RunOptions("sqlite://", recorded_dir=recorded)
    try:
        with Runner(storage, options) as runner:
            return GroupRunner(runner).run(members(storage), Budget(14))
    except Killed:
        return None
    finally:
        storage.last_write = None


def decided(result: GroupResult) -> tuple[object, ...]:
    """Returns what does not depend on when it ran, nor on how often."""
    decision = result.decision
    return decision.outcome, result.shared, decision.incumbent_us, decision.tuned_us


def assert_measured_once(storage: MortalStorage) -> None:
    for each in members(storage):
        told = [t.params for t in each.study.trials]
        assert len({json.dumps(params, sort_keys=True) for params in told}) == len(told)


def test_killed_again_and_again(recorded: Path) -> None:
    whole = run(new_group(recorded), recorded)
    assert whole is not None
    assert whole.shared == {"block_m": 32}
    storage, kills = new_group(recorded), 0
    while (result := run(storage, recorded, last_write=15)) is None:
        kills += 1
        assert kills < 100
    assert kills > 3
    assert decided(result) == decided(whole)
    assert_measured_once(storage)


def test_killed_while_the_result_is_handed_out(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, store = new_group(recorded), KernelStudy.finish_group

    def store_and_die(self: KernelStudy, result: GroupResult) -> None:
        store(self, result)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(KernelStudy, "finish_group", store_and_die)
        assert run(storage, recorded) is None
    stored = members(storage)[0].group_result
    assert stored is not None
    assert not any(each.result for each in members(storage))
    lives = 1
    while (result := run(storage, recorded, last_write=1)) is None:
        lives += 1
        assert lives < 100
    assert lives > len(members(storage))
    assert result == stored, "what was decided stands"
    for each in members(storage):
        assert each.group_result == stored
        assert each.result == stored.members[each.name]


def test_a_decided_group_is_not_run_again(recorded: Path) -> None:
    storage = new_group(recorded)
    first = run(storage, recorded)
    assert run(storage, recorded) == first
    assert storage.writes == 0


def test_what_is_known_of_an_op_is_read_once_a_search(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, search, standing = MortalStorage.get_all_trials, Runner.search, GroupMember.standing
    reads, searches, read_by_each = list[None](), list[None](), list[int]()

    def noted_read(*args: Any, **kwargs: Any) -> list[FrozenTrial]:
        reads.append(None)
        return read(*args, **kwargs)

    def noted_search(*args: Any, **kwargs: Any) -> SearchLoop:
        searches.append(None)
        return search(*args, **kwargs)

    def noted_standing(*args: Any) -> Standing:
        before = len(reads)
        found = standing(*args)
        read_by_each.append(len(reads) - before)
        return found

    monkeypatch.setattr(MortalStorage, "get_all_trials", noted_read)
    monkeypatch.setattr(Runner, "search", noted_search)
    monkeypatch.setattr(GroupMember, "standing", noted_standing)
    assert run(new_group(recorded), recorded)
    assert 0 < sum(map(bool, read_by_each)) <= len(searches) < len(read_by_each)


class NotedReplay(ReplayBackend):
    """Notes what it is asked for."""

    def __init__(self, recording: Recording, happened: list[str]) -> None:
        super().__init__(recording)
        self.happened = happened

    def compile_ahead(self, configs: Sequence[Config]) -> None:
        if configs:
            self.happened.append("compile")
        super().compile_ahead(configs)

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        self.happened.append("measure")
        return super().measure(config, limit_us)


def test_all_ops_begin_to_compile_before_the_first_is_searched(recorded: Path) -> None:
    happened: list[str] = []
    backends = StandInBackends(lambda study: NotedReplay(study.open_recording(recorded), happened))
    storage = new_group(recorded)
    with Runner(storage, RunOptions("sqlite://", recorded_dir=recorded), backends) as runner:
        GroupRunner(runner).run(members(storage), Budget(14))
    ops = len(members(storage))
    assert happened[:ops] == ["compile"] * ops


def test_a_timeout_leaves_a_result(recorded: Path) -> None:
    storage = new_group(recorded)
    options = RunOptions("sqlite://", recorded_dir=recorded)
    with Runner(storage, options) as runner:
        result = GroupRunner(runner).run(members(storage), Budget(14, timeout_s=1e-9))
    assert (result.decision.outcome, result.shared) == ("default", {"block_m": 64})
