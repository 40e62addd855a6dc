"""Runs the GPU worker, which owns the device. Killing it costs one trial; it is replaced and set up again."""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import torch
from pebble import ProcessExpired

from autotune.contract import Config
from autotune.errors import AutotuneError
from autotune.measure import fork_server, worker_jobs
from autotune.measure.processes import LOST, TRIES, WorkerPool
from autotune.measure.result import Measurement
from autotune.measure.watched_pool import Result, WatchedPool
from autotune.measure.worker_jobs import BenchJob

_SETUP_TIMEOUT_S = 300.0


class _LostAtNothing(Exception):
    """The worker was killed while it measured nothing."""


class GpuWorker:
    """Runs jobs in the worker process, one at a time, each with a time limit."""

    def __init__(self, cache_dir: str) -> None:
        self._process = WorkerPool(1, worker_jobs.start, cache_dir)
        self._pool: WatchedPool | None = None
        self._job: BenchJob | None = None
        self._setting_up: Future[None] | None = None

    def start(self) -> None:
        """Brings the process up, its CUDA context included, without waiting for it."""
        self._process.schedule(worker_jobs.wake, limit_s=_SETUP_TIMEOUT_S)

    def set_up(self, job: BenchJob) -> None:
        """Begins to set up the worker's workbench for a problem, unless it is; the next measurement waits for it."""
        self._look()
        if self._job == job:
            return
        self._setting_up = self._process.schedule(worker_jobs.set_up, job, limit_s=_SETUP_TIMEOUT_S)
        self._job = job

    def measure(self, job: BenchJob, config: Config, limit_us: float | None) -> Measurement:
        return self._guarded(job, functools.partial(worker_jobs.measure, dict(config), limit_us), 1)

    def race(self, job: BenchJob, configs: Sequence[Config], rounds: int) -> list[Measurement] | Measurement:
        """Races the configs; returns one measurement per config, or a single failed one when the worker itself was
        lost."""
        race = functools.partial(worker_jobs.race_all, [dict(config) for config in configs], rounds)
        return self._guarded(job, race, len(configs))

    def race_together(self, entrants: Sequence[tuple[BenchJob, Config]], rounds: int) -> list[Measurement]:
        """Races configs of several problems or kernels, side by side in one process; it keeps no workbench.

        Raises:
            AutotuneError: If they cannot be raced: the worker is lost, or takes too long.
        """
        self._look()
        self._job, self._setting_up = None, None
        limit_s = _SETUP_TIMEOUT_S + sum(job.settings.measure_timeout_s for job, _ in entrants)
        together = [(job, dict(config)) for job, config in entrants]
        try:
            return self._repeated(functools.partial(worker_jobs.race_together, together, rounds), limit_s)
        except (TimeoutError, concurrent.futures.TimeoutError, ProcessExpired) as error:
            self.restart()
            raise AutotuneError(
                f"{_kernels(entrants)}: the race ended the GPU worker ({error!r}), as often as it was run"
            ) from error
        except torch.OutOfMemoryError as error:
            raise AutotuneError(f"{_kernels(entrants)}: do not fit into the GPU's free memory together") from error

    def call(self, function: Callable[[], Result]) -> Result:
        """Runs a function that takes no workbench, e.g. one that measures the GPU itself.

        Raises:
            AutotuneError: If the worker dies of it.
        """
        try:
            return self._repeated(function, _SETUP_TIMEOUT_S)
        except ProcessExpired as error:
            raise AutotuneError(f"the GPU worker died {TRIES} times (exit code {error.exitcode})") from error

    def restart(self) -> None:
        """Kills the process; the next job starts a new one."""
        self._process.restart()
        self._pool, self._job, self._setting_up = None, None, None

    def close(self) -> None:
        """Kills the process for good."""
        self._process.close()

    def _guarded(self, job: BenchJob, function: Callable[[], Result], configs: int) -> Result | Measurement:
        """Runs on the job's workbench; a lost worker is replaced, and its measurement failed.

        Raises:
            AutotuneError: If the problem cannot be set up, e.g. does not fit into the GPU's memory.
        """
        limit_s = job.settings.measure_timeout_s * configs
        try:
            result = self._retried(job, function, limit_s)
        except (TimeoutError, concurrent.futures.TimeoutError):
            self.restart()
            return Measurement("timeout", message=f"no answer within {limit_s:g} s; the worker was killed")
        except ProcessExpired as error:
            self.restart()
            return Measurement("crashed", message=f"the GPU worker died (exit code {error.exitcode})")
        if isinstance(result, Measurement) and result.status == "crashed":
            self.restart()
        return result

    def _repeated(self, function: Callable[[], Result], limit_s: float) -> Result:
        """Runs a function that needs no workbench, and again where somebody kills the worker at it.

        Raises:
            ProcessExpired: If that happens each time.
        """
        for _ in range(TRIES):
            try:
                return self._retried(None, function, limit_s)
            except ProcessExpired as error:
                self.restart()
                died = error
        raise died

    def _retried(self, job: BenchJob | None, function: Callable[[], Result], limit_s: float) -> Result:
        """Runs a function, on the job's workbench if there is a job.

        That somebody kills a worker that does nothing, or makes inputs, is not the config's fault: another is set up.
        """
        for _ in range(TRIES):
            try:
                if job is not None:
                    self.set_up(job)
                    self._wait_for_workbench(job)
                return self._run(function, limit_s)
            except _LostAtNothing as error:
                self.restart()
                lost = error
        doing = f"{job.kernel}: " if job is not None else ""
        raise AutotuneError(f"{doing}the GPU worker was killed {TRIES} times before it began to measure ({lost})")

    def _wait_for_workbench(self, job: BenchJob) -> None:
        beginning, self._setting_up = self._setting_up, None
        try:
            if beginning is not None:
                beginning.result()
        except LOST as error:
            raise _LostAtNothing(repr(error)) from error
        except (TimeoutError, concurrent.futures.TimeoutError) as error:
            self.restart()
            raise AutotuneError(f"{job.kernel}: making inputs took longer than {_SETUP_TIMEOUT_S:g} s") from error
        except torch.OutOfMemoryError as error:
            self._job = None
            raise AutotuneError(f"{job.kernel} {job.problem}: does not fit into the GPU's free memory") from error
        except BaseException:
            self._job = None
            raise

    def _run(self, function: Callable[[], Result], limit_s: float) -> Result:
        """Runs a function in the worker.

        Raises:
            _LostAtNothing: If the worker was killed before it began, or with the server that it was forked from.
        """
        server = fork_server.server_pid()
        try:
            return self._process.schedule(function, limit_s=limit_s).result()
        except BrokenProcessPool as error:
            raise _LostAtNothing(repr(error)) from error
        except ProcessExpired as error:
            if not fork_server.is_lost_with(server, error):
                raise
            raise _LostAtNothing("with the server that it was forked from") from error

    def _look(self) -> None:
        """Sees whether it is still the same process, which has its workbench."""
        if (pool := self._process.start()) is not self._pool:
            self._pool, self._job, self._setting_up = pool, None, None


def _kernels(entrants: Sequence[tuple[BenchJob, Config]]) -> str:
    return " and ".join(dict.fromkeys(job.kernel for job, _ in entrants))
