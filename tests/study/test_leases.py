"""One owner of a study at a time, in the storage itself, whatever becomes of the owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.storages import BaseStorage, InMemoryStorage

from autotune.errors import HeldError, StorageError
from autotune.study import leases
from autotune.study.lease_table import table_of
from autotune.study.leases import LAPSE_S, Leases
from autotune.study.owner import Owner
from autotune.study.storage import open_storage

HOLDS = """
import sys, time
from autotune.study.leases import Leases
from autotune.study.storage import open_storage
with Leases(open_storage(sys.argv[1])).holding("study one", "study one is being run"):
    print("held", flush=True)
    time.sleep(600)
"""
"""A process that holds a lease until it is killed."""


@pytest.fixture(params=["file", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> BaseStorage:
    return InMemoryStorage() if request.param == "memory" else open_storage(f"sqlite:///{tmp_path}/a.db", create=True)


def take(holder: Leases) -> None:
    with holder.holding("study one", "study one is being run"):
        pass


def test_a_lease_has_one_owner_and_is_free_again(storage: BaseStorage) -> None:
    one, two = Leases(storage), Leases(storage)
    with one.holding("study one", "study one is being run"):
        with pytest.raises(HeldError, match=rf"^study one is being run by process {os.getpid()} on .*; wait for it"):
            take(two)
        with two.holding("study two", ""):
            one.check()
    take(two)


def test_two_who_saw_the_same_dead_owner_do_not_both_take_over(storage: BaseStorage) -> None:
    table, dead = table_of(storage), replace(Owner.new(), token="dead", started="1")
    assert dead.surely_dead()
    table.add("study one", dead)
    there = table.find("study one")
    assert there is not None
    assert table.replace("study one", there, Owner.new())
    assert not table.replace("study one", there, Owner.new())


def test_an_owner_elsewhere_keeps_its_lease_for_as_long_as_it_beats(storage: BaseStorage) -> None:
    now_s = 0.0
    elsewhere = replace(Owner.new(), token="elsewhere", machine="another")
    table, mine = table_of(storage), Leases(storage, lambda: now_s)
    table.add("study one", elsewhere)
    for _ in range(3):
        with pytest.raises(HeldError):
            take(mine)
        now_s += LAPSE_S
        table.beat(elsewhere)
    with pytest.raises(HeldError):
        take(mine)
    now_s += LAPSE_S
    take(mine)
    assert table.find("study one") is None


def test_a_living_owner_on_this_machine_never_lapses(storage: BaseStorage) -> None:
    now_s = 0.0
    table_of(storage).add("study one", Owner.new())
    mine = Leases(storage, lambda: now_s)
    for _ in range(2):
        with pytest.raises(HeldError):
            take(mine)
        now_s += 10 * LAPSE_S


def test_an_owner_hears_that_its_lease_was_taken_over(storage: BaseStorage) -> None:
    mine, table = Leases(storage), table_of(storage)
    with mine.holding("study one", ""):
        there = table.find("study one")
        assert there is not None
        table.replace("study one", there, other := Owner.new())
        with pytest.raises(StorageError, match="study one: another process has taken it over"):
            mine.check()
    assert table.held(other, ["study one"]), "whoever has lost a lease leaves it to its owner"


def test_a_held_lease_beats(
    storage: BaseStorage, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[[Callable[[], object]], None]
) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.01)
    table = table_of(storage)
    with Leases(storage).holding("study one", ""):
        wait_until(lambda: (found := table.find("study one")) and found.beat > 2)


def test_the_lease_of_a_killed_process_is_free_by_any_spelling_of_the_storage(tmp_path: Path) -> None:
    open_storage(f"sqlite:///{tmp_path}/a.db", create=True)
    (tmp_path / "link.db").symlink_to(tmp_path / "a.db")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", HOLDS, f"sqlite:///{tmp_path}/a.db"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"held\n"
        other = Leases(open_storage("sqlite:///link.db"))
        with pytest.raises(HeldError, match=f"process {process.pid} on"):
            take(other)
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(HeldError):
            take(other)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        take(other)


def test_a_lease_travels_and_is_good_for_as_long_as_its_owner_lives_and_holds_it(storage: BaseStorage) -> None:
    mine, table = Leases(storage), table_of(storage)
    with mine.holding("study one", ""):
        lease = mine.lease("study one")
        lease.check(table)
        dead = replace(lease, owner=replace(mine.owner, started="another time"))
        with pytest.raises(StorageError):
            dead.check(table)
    with pytest.raises(StorageError):
        lease.check(table)
