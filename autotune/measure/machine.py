"""This machine as a place that measures: the processes that compile and the one that owns the GPU."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Self

from autotune import paths
from autotune.contract import Config
from autotune.environment import gpu_uuid, usable_cores
from autotune.measure.compile_pool import CompilePool
from autotune.measure.cuda import CudaBackend
from autotune.measure.gpu_lock import GpuLock
from autotune.measure.result import Measurement
from autotune.measure.task import Task
from autotune.measure.timing import copy_bandwidth_bytes_per_s
from autotune.measure.worker import GpuWorker
from autotune.measure.worker_jobs import BenchJob


class Machine:
    """The processes that measure, shared by all backends of one run; they run until it is closed.

    Args:
        cache_dir: Where compiled kernels are kept; by default in the tool's cache folder, apart from the user's own.
        compilers: Number of compile processes; by default one per core that it may use, but one.

    Attributes:
        gpu: UUID of the GPU, which no other process of this host has until this is closed; None where there is none.

    Raises:
        AutotuneError: If no process can be started.
        HeldError: If another process measures on the GPU.
        InputError: If the cache folder cannot be written to.
    """

    def __init__(self, cache_dir: Path | None = None, compilers: int | None = None) -> None:
        folder = cache_dir or paths.triton_cache_dir()
        paths.check_writable(folder)
        self.gpu = gpu_uuid()
        with ExitStack() as opened:
            if self.gpu is not None:
                opened.callback(GpuLock(self.gpu).release)
            self.compilers = CompilePool(str(folder), compilers or max(1, usable_cores() - 1))
            opened.callback(self.compilers.close)
            self.worker = GpuWorker(str(folder))
            opened.callback(self.worker.close)
            # It takes seconds to come up, and so do the first compilers.
            self.worker.start()
            # Where one of them cannot be opened, those before it are closed, so that another machine can be.
            self._opened = opened.pop_all()

    def backend(self, task: Task) -> CudaBackend:
        """Opens the backend of one problem; one of a machine's backends measures at a time."""
        return CudaBackend(self.compilers, self.worker, task)

    def race(self, entrants: Sequence[tuple[Task, Config]], rounds: int) -> list[Measurement]:
        """Times configs of several problems or kernels interleaved, in one process (`Backend.race` is of one problem).

        Raises:
            AutotuneError: If they cannot be raced.
        """
        found = self.worker.race_together([(BenchJob.of(task), config) for task, config in entrants], rounds)
        lost = Measurement("crashed", message="not raced: a config before it left the GPU unusable")
        if len(found) < len(entrants):
            self.worker.restart()
        return found + [lost] * (len(entrants) - len(found))

    @cached_property
    def copy_bandwidth_bytes_per_s(self) -> float:
        """Bytes a second through device memory, measured when first asked for."""
        return self.worker.call(copy_bandwidth_bytes_per_s)

    def close(self) -> None:
        """Stops every process."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
