"""Takes trials through the loop: propose, compile ahead, check, screen, tell; then the finalists (`run.finalists`)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import optuna
from optuna.trial import FrozenTrial

from autotune.contract import Config
from autotune.contract.space import Space
from autotune.measure.backend import Backend
from autotune.measure.result import COMPILE_FAILURES, Measurement
from autotune.run.clock import Clock, Phase
from autotune.run.options import BEGUN, Budget
from autotune.search.api import Search
from autotune.study import trials
from autotune.study.stored import StoredForm
from autotune.study.writer import ThreadWriter, WriteQueue, Writer

OnTrial = Callable[[Config, Measurement], None]
Meanwhile = Callable[[], None]
"""What a process has time for while a config is measured."""

_ENDING_ROUNDS = 2
"""A search that ends within so many rounds leaves its compilers to others."""


class SearchLoop:
    """Measures configs of a study until its stop rule, budget or space ends it.

    Compiling runs one round behind proposing: each round the newest model names what it would like compiled for the
    next, and measures a few of all that was compiled before, choosing again after every time it learns. In a replay the
    order depends on no wall time.

    Args:
        writer: Stores finished trials; by default in a thread.
        clock: Counts the time that the search takes; by default the machine's.

    Attributes:
        out_of_time: Whether time has ended the search, and nothing else.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        search: Search,
        backend: Backend,
        writer: Writer | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._finished_trials = WriteQueue(writer or ThreadWriter(study))
        self._stored_form = StoredForm(study, space)
        self.study = trials.working_copy(study, space, search.sampler)
        self.space = space
        self.search = search
        self.backend = backend
        self.clock = clock or Clock()
        self.out_of_time = False
        self._at_begin: Meanwhile | None = None
        self._at_end: Meanwhile | None = None
        self._measuring = ThreadPoolExecutor(max_workers=1)
        self._measured_before = self.measured_count = trials.launched(self.study.get_trials(deepcopy=False), space)
        self._begun_s: float | None = None

    def run(
        self,
        budget: Budget,
        on_trial: OnTrial = lambda config, measurement: None,
        on_ending: Meanwhile = lambda: None,
        on_begun: Meanwhile = lambda: None,
    ) -> Clock:
        """Searches until done, once; killing it loses nothing but the trial in flight and the few before it.

        Args:
            on_ending: Called while one of the last few configs is measured: compilers have time for something else, and
                so has this process. Perhaps more than once, since a measurement may change that, and not at all if the
                search ends early.
            on_begun: Called while the first config is measured, once; not at all if none is.
        """
        self._at_begin = on_begun
        try:
            with self._finished_trials:
                self._run(budget, on_trial, on_ending)
        finally:
            self.backend.compile_ahead([])
            # After an interrupt it may still wait for the GPU, which need not hold up the end.
            self._measuring.shutdown(wait=False)
        return self.clock

    def _run(self, budget: Budget, on_trial: OnTrial, on_ending: Meanwhile) -> None:
        compiled: list[Config] = []
        while not self._finished(budget):
            left = self._left(budget)
            fresh = self._compile_ahead(compiled, left)
            self._at_end = on_ending if left <= _ENDING_ROUNDS * self.search.per_round else None
            if not (batch := compiled or fresh):
                break
            for _ in range(min(self.search.per_round, len(batch))):
                if self._finished(budget):
                    break
                self._measure_one(batch, on_trial)
            compiled = batch if batch is fresh else batch + fresh

    def _most(self, budget: Budget) -> int:
        return budget.trials if budget.more is None else self._measured_before + budget.more

    def _left(self, budget: Budget) -> int:
        """Tells the most measurements that are still to come, as far as is known."""
        of_budget = self._most(budget) - self.measured_count
        with self.clock.timing(Phase.SEARCH):
            of_stop = self.search.stop.measurements_left(self.study)
        return of_budget if of_stop is None else min(of_budget, of_stop)

    def _compile_ahead(self, compiled: list[Config], left: int) -> list[Config]:
        """Starts compiling the newest ideas, no more than will be measured; returns those that are new."""
        with self.clock.timing(Phase.SEARCH):
            wanted = self.search.shortlist(self.study, min(self.search.compile_ahead, left))
        fresh = [config for config in wanted if config not in compiled]
        self.backend.compile_ahead(fresh)
        return fresh

    def _measure_one(self, batch: list[Config], on_trial: OnTrial) -> None:
        """Measures the most promising compiled config of the batch and takes it out."""
        sampler = self.search.sampler
        # The incumbent is what everything is compared with: nothing is measured before it.
        first = [config for config in (self.space.incumbent, *self.search.first) if config in batch]
        with self.clock.timing(Phase.SEARCH):
            wanted = first[:1] or sampler.ranked(self.study, batch)
        with self.clock.timing(Phase.COMPILE_WAIT):
            ready = self.backend.wait_compiled(wanted)
        for config in ready:
            if failure := self.backend.compile_failure(config):
                batch.remove(config)
                failed = trials.add_failure(self.study, self.space, config, failure)
                self._finish(failed, failure, on_trial)
        sampler.among = [config for config in ready if config in batch]
        if not sampler.among:
            return
        with self.clock.timing(Phase.SEARCH):
            trial = self.study.ask(self.space.distributions)
        config = self.space.config(trial.params)
        batch.remove(config)
        measurement = self._measure(config)
        self._finish(trials.tell(self.study, trial, measurement), measurement, on_trial)

    def _measure(self, config: Config) -> Measurement:
        """Measures a config; meanwhile finished trials are stored, the model learns, and what follows is prepared."""
        with self.clock.timing(Phase.STORAGE):
            self._finished_trials.store()
        with self.clock.timing(Phase.MEASURE):
            limit_us = self.search.pruner.limit_us(self.study)
            answer = self._measuring.submit(self.backend.measure, config, limit_us)
            with self.clock.timing(Phase.LEARN):
                self.search.sampler.learn(self.study)
            meanwhile, self._at_begin, self._at_end = (self._at_begin, self._at_end), None, None
            for call in meanwhile:
                if call is not None:
                    call()
            return answer.result()

    def _finish(self, trial: FrozenTrial, measurement: Measurement, on_trial: OnTrial) -> None:
        self._finished_trials.add(self._stored_form.stored(trial))
        if measurement.status not in COMPILE_FAILURES:
            self.measured_count += 1
            if self._begun_s is None and self.measured_count >= BEGUN:
                self._begun_s = self.clock.wall_s
        # What is shown includes the model's estimate of what is left: the newest model is fitted here.
        with self.clock.timing(Phase.SEARCH):
            on_trial(self.space.config(trial.params), measurement)

    def _finished(self, budget: Budget) -> bool:
        with self.clock.timing(Phase.SEARCH):
            done = self.measured_count >= self._most(budget) or self.search.stop.done(self.study)
        self.out_of_time = not done and self._time_is_over(budget)
        return done or self.out_of_time

    def _time_is_over(self, budget: Budget) -> bool:
        """Tells whether the run's time is over, or the study's share of it."""
        wall_s = self.clock.wall_s
        if budget.timeout_s is not None and wall_s >= budget.timeout_s:
            return True
        return budget.share_s is not None and self._begun_s is not None and wall_s - self._begun_s >= budget.share_s
