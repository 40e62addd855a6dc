"""What the search wants last is compiled first, and no more at once than there are compilers."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from autotune.contract import Config
from autotune.measure.compile_queue import CompileQueue
from autotune.measure.result import Measurement


class Pool:
    """Compiles when told to."""

    def __init__(self) -> None:
        self.submitted: list[Config] = []
        self.futures: list[Future[Measurement]] = []

    def submit(self, config: Config) -> Future[Measurement]:
        self.submitted.append(config)
        self.futures.append(Future())
        return self.futures[-1]

    def finish(self, *indices: int) -> None:
        for index in indices:
            self.futures[index].set_result(Measurement("ok", compile_s=float(index)))

    @property
    def sizes(self) -> list[int | None]:
        return [config["block"] for config in self.submitted]


@pytest.fixture
def pool() -> Pool:
    return Pool()


def configs(*blocks: int) -> list[Config]:
    return [{"block": block, "warps": 4} for block in blocks]


def test_the_newest_wish_is_all_that_waits(pool: Pool) -> None:
    queue = CompileQueue(pool.submit, slots=2)
    queue.want(configs(1, 2, 3, 4))
    assert pool.sizes == [1, 2]
    queue.want(configs(5, 4))
    for index in range(4):
        pool.finish(index)
    assert pool.sizes == [1, 2, 5, 4]


def test_what_is_waited_for_comes_before_what_is_wanted(pool: Pool) -> None:
    queue = CompileQueue(pool.submit, slots=1)
    queue.want(configs(1, 2, 3))
    threading.Timer(0.05, pool.finish, [0]).start()
    assert queue.wait(configs(3, 1)) == configs(1)
    pool.finish(1)
    assert pool.sizes == [1, 3, 2]


def test_a_config_is_compiled_once(pool: Pool) -> None:
    queue = CompileQueue(pool.submit, slots=3)
    queue.want(configs(1) + configs(1))
    queue.want([{"warps": 4, "block": 1}])
    pool.finish(0)
    assert queue.wait(configs(1)) == configs(1)
    assert pool.sizes == [1]


def test_takes_what_is_there(pool: Pool) -> None:
    queue = CompileQueue(pool.submit, slots=2)
    queue.want(configs(1, 2))
    pool.finish(1)
    assert queue.wait(configs(1, 2)) == configs(2)


def test_waits_for_any_if_none_is_there(pool: Pool) -> None:
    queue = CompileQueue(pool.submit, slots=2)
    threading.Timer(0.05, lambda: pool.finish(1)).start()
    assert queue.wait(configs(1, 2)) == configs(2)


def test_a_result_is_wanted_before_all_else(pool: Pool) -> None:
    queue = CompileQueue(pool.submit, slots=1)
    queue.want(configs(1, 2, 3))
    threading.Timer(0.05, pool.finish, (0, 1)).start()
    assert queue.result(configs(3)[0]).compile_s == 1.0
    assert pool.sizes[:2] == [1, 3]


def test_a_failure_of_the_pool_is_raised(pool: Pool) -> None:
    queue = CompileQueue(pool.submit, slots=1)
    queue.want(configs(1))
    pool.futures[0].set_exception(TimeoutError())
    assert queue.wait(configs(1)) == configs(1)
    with pytest.raises(TimeoutError):
        queue.result(configs(1)[0])


def test_a_pool_that_breaks_is_heard_of(pool: Pool) -> None:
    queue = CompileQueue(pool.submit, slots=1)
    queue.want(configs(1, 2))

    def broken(config: Config) -> Future[Measurement]:
        raise RuntimeError("Unexpected error within the Pool")

    queue._submit = broken
    threading.Timer(0.05, lambda: pool.futures[0].set_exception(RuntimeError("All workers expired"))).start()
    assert queue.wait(configs(2)) == configs(2)
    for config in configs(2, 3):
        with pytest.raises(RuntimeError, match="within the Pool"):
            queue.result(config)


def test_wanting_nothing_lets_what_runs_end(pool: Pool) -> None:
    queue = CompileQueue(pool.submit, slots=1)
    queue.want(configs(1, 2))
    queue.want([])
    pool.finish(0)
    assert pool.sizes == [1] and not pool.futures[0].cancelled()
