"""Measures on a GPU: a compile pool works ahead, and one worker owns the device."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

from pebble import ProcessExpired

from autotune.contract import Config, config_key
from autotune.measure.compile_pool import CompilePool
from autotune.measure.compile_queue import CompileQueue
from autotune.measure.compiling import CompileJob
from autotune.measure.processes import TRIES
from autotune.measure.result import Measurement
from autotune.measure.task import Task
from autotune.measure.worker import GpuWorker
from autotune.measure.worker_jobs import BenchJob


class CudaBackend:
    """Measures the configs of one problem on this machine's GPU."""

    name = "cuda"

    def __init__(self, compilers: CompilePool, worker: GpuWorker, task: Task) -> None:
        self._compilers = compilers
        self._worker = worker
        self._task = task
        self._job = BenchJob.of(task)
        # One more than there are compilers, so that none waits to be given the next.
        self._queue = CompileQueue(self._submit, compilers.size + 1)

    def compile_ahead(self, configs: Sequence[Config]) -> None:
        self._queue.want(configs)

    def wait_compiled(self, configs: Sequence[Config]) -> list[Config]:
        if not configs:
            return []
        # Inputs are made while compilers work.
        self._worker.set_up(self._job)
        return self._queue.wait(configs)

    def compile_failure(self, config: Config) -> Measurement | None:
        outcome = self._compiled(config)
        return outcome if outcome.failed else None

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        compiled = self._compiled(config)
        if compiled.failed:
            return compiled
        result = self._worker.measure(self._job, config, limit_us)
        return replace(result, compile_s=compiled.compile_s, resources=compiled.resources)

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
        """Races the configs; those that fail only now, on fresh inputs or after many runs, are taken out and the others
        raced again."""
        found: dict[int, Measurement] = {}
        lost_together = 0
        while running := [i for i in range(len(configs)) if i not in found]:
            answer = self._worker.race(self._job, [configs[i] for i in running], rounds)
            if isinstance(answer, Measurement):
                culprits = self._culprits(configs, running)
                # Where each runs alone, somebody else may have killed the worker.
                lost_together += not culprits
                found |= dict.fromkeys(running, answer) if lost_together == TRIES else culprits
            elif len(answer) < len(running):
                # A race ends at a config that leaves the worker's GPU context unusable.
                self._worker.restart()
                found[running[len(answer) - 1]] = answer[-1]
            else:
                found |= dict(zip(running, answer, strict=True))
        return [found[i] for i in range(len(configs))]

    def _culprits(self, configs: Sequence[Config], running: list[int]) -> dict[int, Measurement]:
        """Finds the configs that lose the worker, or fail, when measured alone."""
        alone = {i: self._worker.measure(self._job, configs[i], None) for i in running}
        return {i: result for i, result in alone.items() if result.failed}

    def _compiled(self, config: Config) -> Measurement:
        try:
            return self._queue.result(config)
        except (TimeoutError, concurrent.futures.TimeoutError):
            limit_s = self._task.settings.compile_timeout_s
            return Measurement("timeout", message=f"compiling took longer than {limit_s:g} s", compile_s=limit_s)
        except ProcessExpired as error:
            return Measurement("compile_error", message=f"the compiler died (exit code {error.exitcode})")

    def _submit(self, config: Config) -> Future[Measurement]:
        problem = tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in self._job.problem.items())
        job = CompileJob(self._task.kernel, problem, config_key(config), self._task.gpu)
        return self._compilers.submit(job, self._task.settings.compile_timeout_s)

    def close(self) -> None:
        self._queue.want([])
