"""Opens studies for measuring, the next one ahead of its turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

from optuna.storages import BaseStorage

from autotune.contract import Config
from autotune.contract.space import Space
from autotune.errors import AutotuneError
from autotune.measure.backend import Backend
from autotune.run import identity
from autotune.run.backends import Backends
from autotune.run.neighbours import Neighbourhood
from autotune.run.options import RunOptions
from autotune.search.api import Search
from autotune.search.arrays import Floats
from autotune.search.estimate import estimated
from autotune.search.making import make_search
from autotune.study import trials
from autotune.study.study import KernelStudy


@dataclass(frozen=True)
class Session:
    """A study that this process owns for a while, with what it takes to measure it."""

    study: KernelStudy
    space: Space
    backend: Backend

    @cached_property
    def log_estimate(self) -> Floats | None:
        """What the kernel expects of each config, if it expects anything."""
        return estimated(self.space.configs, self.study.kernel, self.study.problem, self.study.gpu)

    @property
    def own_defaults(self) -> tuple[Config, ...]:
        """The default of our kernel, where it is not the incumbent and the space has it: a recording may lack it."""
        own, space = self.study.own_default, self.space
        found = space.configs[space.index(own)] if own is not None and space.has(own) else space.incumbent
        return () if found == space.incumbent else (found,)


class Sessions:
    """Opens one study after the other."""

    def __init__(self, storage: BaseStorage, options: RunOptions, backends: Backends) -> None:
        self._options = options
        self._backends = backends
        self._neighbourhood = Neighbourhood(storage)
        self._prepared: Session | None = None

    @contextmanager
    def opened(self, study: KernelStudy) -> Iterator[Session]:
        """Opens what measures a study that this process has locked."""
        session = self._take_prepared(study) or self._open(study)
        try:
            yield session
        finally:
            session.backend.close()

    def prepare(self, study: KernelStudy | None) -> None:
        """Has a study's first configs compiled before its turn. If that fails, its own turn will say why."""
        if study is None or study.result is not None or study.spec.backend == "replay":
            return
        if self._prepared is not None and self._prepared.study.name == study.name:
            return
        try:
            identity.check(study, self._options)
            session = self._open(study)
            self.compile_first(session)
        except AutotuneError:
            return
        self._prepared = session

    def compile_first(self, session: Session) -> None:
        """Begins to compile what the study's search will measure first."""
        search = self.search_of(session)
        live = trials.working_copy(session.study.study, session.space, search.sampler)
        session.backend.compile_ahead(search.shortlist(live, search.compile_ahead))

    def search_of(self, session: Session) -> Search:
        """Makes the search of a study's whole space, with what its neighbours and its kernel let it expect."""
        study, space, options = session.study, session.space, self._options
        known = self._neighbourhood.of(study)
        search = make_search(options.sampler, space, options.seed, known, session.log_estimate, stop=options.stop)
        return replace(search, first=session.own_defaults)

    def beside(self, session: Session) -> dict[str, Config]:
        """Returns, by study, the winners of the searched sizes right below and right above a study's."""
        return self._neighbourhood.beside(session.study)

    def close(self) -> None:
        """Closes what was prepared and never opened."""
        if self._prepared is not None:
            self._prepared.backend.close()

    def _open(self, study: KernelStudy) -> Session:
        return Session(study, study.open_space(self._options.recorded_dir), self._backends.open(study))

    def _take_prepared(self, study: KernelStudy) -> Session | None:
        prepared, self._prepared = self._prepared, None
        if prepared is None or prepared.study.name == study.name:
            return prepared
        prepared.backend.close()
        return None
