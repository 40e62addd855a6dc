"""The backend that measures on a GPU: a compile pool ahead, one worker that owns the device."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from autotune.contract import Config, Gpu, Problem
from autotune.measure import processes
from autotune.measure.compile_queue import CompileQueue
from autotune.measure.compiling import CompileJob, compile_config, start_worker
from autotune.measure.result import Measurement
from autotune.measure.settings import MeasureSettings
from autotune.measure.worker import BenchJob, GpuWorker


class Machine:
    """The processes that measure; shared by the studies of one run.

    Args:
        cache_dir: Where compiled kernels are kept (Triton's cache, apart from the user's own).
        compilers: Number of compile processes; by default one per core but one.
    """

    def __init__(self, cache_dir: Path, compilers: int | None = None) -> None:
        self.cache_dir = str(cache_dir)
        self.compilers_count = compilers or max(1, (os.cpu_count() or 2) - 1)
        self._compilers = self._start_compilers()
        self._closed = False
        self.worker = GpuWorker(self.cache_dir)
        # Takes seconds, which the first compilers take, too.
        self.worker.start()

    @property
    def compilers(self) -> ProcessPool:
        """The compile processes; new ones after one was killed with nothing to do, which takes its pool with it."""
        if not (self._closed or self._compilers.active):
            # Not joined: whoever asks may be a thread of that pool.
            self._compilers.stop()
            self._compilers = self._start_compilers()
        return self._compilers

    def close(self) -> None:
        """Stop every process."""
        self._closed = True
        self._compilers.stop()
        self._compilers.join()
        self.worker.close()

    def _start_compilers(self) -> ProcessPool:
        return processes.pool(self.compilers_count, start_worker, self.cache_dir)


@dataclass(frozen=True)
class Task:
    """One problem to measure: the kernel's registry reference, the problem, the GPU and how to measure."""

    kernel: str
    problem: Problem
    gpu: Gpu
    settings: MeasureSettings
    device: str = "cuda"


class CudaBackend:
    """Measures the configs of one problem on this machine's GPU."""

    name = "cuda"

    def __init__(self, machine: Machine, task: Task) -> None:
        self._machine = machine
        self._task = task
        self._job = BenchJob(task.kernel, task.problem.to_json(), task.device, task.gpu.l2_bytes, task.settings)
        # One more than there are compilers, so that none waits to be given the next.
        self._queue = CompileQueue(self._submit, machine.compilers_count + 1)

    def compile_ahead(self, configs: Sequence[Config]) -> None:
        self._queue.want(configs)

    def wait_compiled(self, configs: Sequence[Config]) -> list[Config]:
        if not configs:
            return []
        # Inputs are made while compilers work.
        self._machine.worker.set_up(self._job)
        return self._queue.wait(configs)

    def compile_failure(self, config: Config) -> Measurement | None:
        outcome = self._compiled(config)
        return outcome if outcome.failed else None

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        compiled = self._compiled(config)
        if compiled.failed:
            return compiled
        result = self._machine.worker.measure(self._job, config, limit_us)
        return replace(result, compile_s=compiled.compile_s, resources=compiled.resources)

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
        """Configs that fail only now, on fresh inputs or after many runs, are taken out and the others raced again."""
        failed: dict[int, Measurement] = {}
        while True:
            running = [i for i in range(len(configs)) if i not in failed]
            if not running:
                break
            answer = self._machine.worker.race(self._job, [configs[i] for i in running], rounds)
            if isinstance(answer, Measurement):
                failed |= self._culprits(configs, running, answer)
                continue
            if len(answer) < len(running):
                self._machine.worker.restart()
                failed[running[len(answer) - 1]] = answer[-1]
                continue
            failed |= dict(zip(running, answer, strict=True))
            break
        return [failed[i] for i in range(len(configs))]

    def _culprits(self, configs: Sequence[Config], running: list[int], answer: Measurement) -> dict[int, Measurement]:
        """Which configs lose the worker when measured alone; all of them, if none does but together they did."""
        alone = {i: self._machine.worker.measure(self._job, configs[i], None) for i in running}
        guilty = {i: result for i, result in alone.items() if result.failed}
        return guilty or dict.fromkeys(running, answer)

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
        job = CompileJob(self._task.kernel, problem, tuple(sorted(config.items())), self._task.gpu)
        limit_s = self._task.settings.compile_timeout_s
        future: Future[Measurement] = self._machine.compilers.schedule(compile_config, args=[job], timeout=limit_s)
        return future

    def close(self) -> None:
        self._queue.want([])
