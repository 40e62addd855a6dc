"""Builds the finite space of a study: feasible, canonical, distinct configs, and their way to and from Optuna.

Canonical configs are compared (law 7), so no trial is spent on a parameter that the server ignores, forces or clips.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from autotune.contract import AnyKernel, Config, ConfigKey, Parameter, Problem, Value
from autotune.contract.gpu import Gpu
from autotune.errors import InputError

# Whoever only plans or checks files does without them: loading them takes longer than that.
if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from optuna.distributions import BaseDistribution


Row = tuple[Value, ...]
"""The values of a config in the order of a space's parameters."""


class Space:
    """All configs of a problem on a GPU, in a fixed order.

    Args:
        configs: Feasible, canonical, distinct configs, all with the same names.
        incumbent: The server's default; added first if the configs lack it.

    Raises:
        InputError: If two configs name different parameters.
    """

    def __init__(self, configs: Iterable[Config], incumbent: Config) -> None:
        names = tuple(incumbent)
        rows: dict[Row, None] = {}
        for config in itertools.chain([incumbent], configs):
            if config.keys() != incumbent.keys():
                raise InputError(f"space: got a config with {sorted(config)}, allowed {sorted(names)}")
            rows[tuple(map(config.__getitem__, names))] = None
        self._index = {row: i for i, row in enumerate(rows)}
        self.parameters = tuple(
            Parameter(name, tuple(sorted(set(column), key=_order)))
            for name, column in zip(names, zip(*rows, strict=True), strict=True)
        )

    @classmethod
    def build(cls, kernel: AnyKernel, problem: Problem, gpu: Gpu, preset: str) -> Space:
        """Enumerates a kernel's preset for a problem: makes each config canonical, drops the infeasible and the
        duplicates."""
        if preset not in kernel.spaces:
            raise InputError(f"--space: got {preset!r} for {kernel.name}; allowed: {', '.join(kernel.spaces)}")
        incumbent = kernel.canonical(problem, kernel.default_config(problem, gpu), gpu)
        others = kernel.other_defaults(problem, gpu)
        own = kernel.own_default(problem, gpu)
        feasible = _feasible(kernel, problem, gpu, kernel.parameters(problem, preset))
        return cls(itertools.chain(others, feasible, [] if own is None else [own]), incumbent)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The configs as rows of values, the incumbent first."""
        return tuple(self._index)

    @cached_property
    def configs(self) -> tuple[dict[str, Value], ...]:
        """The configs, the incumbent first. Whoever asks for the fingerprint alone does without them."""
        names = [p.name for p in self.parameters]
        return tuple(dict(zip(names, row, strict=True)) for row in self._index)

    @property
    def incumbent(self) -> dict[str, Value]:
        return self.configs[0]

    def index(self, config: Config) -> int:
        """Returns the position of a config in `configs`.

        Raises:
            KeyError: If it is not in the space.
        """
        return self._index[self._row(config)]

    def has(self, config: Config) -> bool:
        """Tells whether a config is in the space."""
        named = all(p.name in config for p in self.parameters)
        return named and self._row(config) in self._index

    def _row(self, config: Config) -> Row:
        return tuple(config[p.name] for p in self.parameters)

    @cached_property
    def tunable(self) -> tuple[Parameter, ...]:
        """The parameters that take more than one value; the others are fixed."""
        return tuple(p for p in self.parameters if len(p.values) > 1)

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """One categorical distribution per tunable parameter, so that Optuna's tools show the values themselves."""
        from optuna.distributions import CategoricalDistribution

        return {p.name: CategoricalDistribution(p.values) for p in self.tunable}

    def params(self, config: Config) -> dict[str, Any]:
        """Returns a config as Optuna trial parameters."""
        return {p.name: config[p.name] for p in self.tunable}

    def config(self, params: Mapping[str, Any]) -> dict[str, Value]:
        """Returns a trial's parameters as a config: the fixed parameters are filled in."""
        return {p.name: params.get(p.name, p.values[0]) for p in self.parameters}

    @cached_property
    def ordinals(self) -> npt.NDArray[np.int64]:
        """Position of each config's values among the tunable parameters' values, ``[len(self), len(tunable)]``."""
        import numpy as np

        position = [{v: i for i, v in enumerate(p.values)} for p in self.tunable]
        rows = [[at[c[p.name]] for p, at in zip(self.tunable, position, strict=True)] for c in self.configs]
        return np.asarray(rows, dtype=np.int64).reshape(len(self), len(self.tunable))

    @cached_property
    def fingerprint(self) -> str:
        """Changes when any config or value changes; a study refuses to go on in another space."""
        # Values that compare with each other need no key, which takes longer than all else.
        mixed = any(len(p.values) > 1 and None in p.values for p in self.parameters)
        rows = sorted(self._index, key=(lambda row: [_order(value) for value in row]) if mixed else None)
        text = json.dumps([[p.name for p in self.parameters], rows])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _feasible(kernel: AnyKernel, problem: Problem, gpu: Gpu, parameters: Collection[Parameter]) -> Iterator[Config]:
    """Yields each canonical config once, if it is feasible."""
    names, seen = [p.name for p in parameters], set[ConfigKey]()
    for values in itertools.product(*(p.values for p in parameters)):
        config = kernel.canonical(problem, dict(zip(names, values, strict=True)), gpu)
        # Many are the same once they are canonical, and to tell whether one is feasible takes longer than that.
        if (key := tuple(config.items())) not in seen:
            seen.add(key)
            if kernel.infeasible(problem, config, gpu) is None:
                yield config


def _order(value: Value) -> tuple[bool, int]:
    return (value is not None, value or 0)
