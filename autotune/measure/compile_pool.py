"""The processes that compile: as many as there are cores to spare, each config with a time limit."""

from __future__ import annotations

from concurrent.futures import Future

from pebble import ProcessPool

from autotune.measure import processes
from autotune.measure.compiling import CompileJob, compile_config, start_worker
from autotune.measure.result import Measurement


class CompilePool:
    """Compiles configs in processes of its own.

    Args:
        cache_dir: Where compiled kernels are kept.
        size: The number of processes.
    """

    def __init__(self, cache_dir: str, size: int) -> None:
        self.size = size
        self._cache_dir = cache_dir
        self._closed = False
        self._processes = self._start()

    def submit(self, job: CompileJob, limit_s: float) -> Future[Measurement]:
        """Compiles one config in the background, and kills the compiler at its time limit."""
        future: Future[Measurement] = self.processes.schedule(compile_config, args=[job], timeout=limit_s)
        return future

    @property
    def processes(self) -> ProcessPool:
        """The running processes; they are started again after an idle one was killed, which ends its whole pool."""
        if not (self._closed or self._processes.active):
            # It is not joined: the caller may be a thread of that very pool.
            self._processes.stop()
            self._processes = self._start()
        return self._processes

    def close(self) -> None:
        """Stops the processes for good."""
        self._closed = True
        self._processes.stop()
        self._processes.join()

    def _start(self) -> ProcessPool:
        return processes.pool(self.size, start_worker, self._cache_dir)
