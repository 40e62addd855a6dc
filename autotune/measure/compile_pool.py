"""Runs the processes that compile: as many as there are cores to spare, each config with a time limit."""

from __future__ import annotations

import functools
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool

from autotune.errors import AutotuneError
from autotune.measure import fork_server
from autotune.measure.compiling import CompileJob, compile_config, start_worker
from autotune.measure.processes import TRIES, WorkerPool
from autotune.measure.result import Measurement


class CompilePool:
    """Compiles configs in processes of its own.

    Args:
        cache_dir: Where compiled kernels are kept.
        size: The number of processes.
    """

    def __init__(self, cache_dir: str, size: int) -> None:
        self.size = size
        self.processes = WorkerPool(size, start_worker, cache_dir)
        self.processes.start()

    def submit(self, job: CompileJob, limit_s: float) -> Future[Measurement]:
        """Compiles one config in the background, and kills the compiler at its time limit.

        A config that no compiler had begun with when they were killed is compiled again.
        """
        outcome: Future[Measurement] = Future()
        self._try(job, limit_s, outcome, TRIES)
        return outcome

    def close(self) -> None:
        """Stops the processes for good."""
        self.processes.close()

    def _try(self, job: CompileJob, limit_s: float, outcome: Future[Measurement], tries: int) -> None:
        server = fork_server.server_pid()
        attempt = self.processes.schedule(compile_config, job, limit_s=limit_s)
        attempt.add_done_callback(functools.partial(self._pass_on, job, limit_s, outcome, tries - 1, server))

    def _pass_on(
        self,
        job: CompileJob,
        limit_s: float,
        outcome: Future[Measurement],
        tries: int,
        server: int | None,
        attempt: Future[Measurement],
    ) -> None:
        """Hands on what an attempt came to, unless it is made again: a killed pool never began it, or lost it with its
        server."""
        error = CancelledError() if attempt.cancelled() else attempt.exception()
        if isinstance(error, BrokenProcessPool) or fork_server.is_lost_with(server, error):
            try:
                if tries:
                    self._try(job, limit_s, outcome, tries)
                    return
            except (AutotuneError, RuntimeError) as failed:  # none can be forked, or they were stopped for good
                error = failed
            # It says nothing about the config, and must not be stored as its failure.
            error = AutotuneError(f"{job.kernel}: the compilers were killed {TRIES} times in a row ({error!r})")
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(attempt.result())
