"""Builds the finite space of a study: feasible, canonical, distinct configs, and their way to and from Optuna.

Canonical configs are compared (law 7), so no trial is spent on a parameter that the server ignores, forces or clips.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from autotune.contract import AnyKernel, Config, Parameter, Problem, Value
from autotune.contract.gpu import Gpu
from autotune.errors import InputError

# Whoever only plans or checks files does without them: loading them takes longer than that.
if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from optuna.distributions import BaseDistribution


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
        unique: dict[tuple[Value, ...], dict[str, Value]] = {}
        for config in itertools.chain([incumbent], configs):
            if config.keys() != incumbent.keys():
                raise InputError(f"space: got a config with {sorted(config)}, allowed {sorted(names)}")
            values = tuple(config[name] for name in names)
            unique.setdefault(values, dict(zip(names, values, strict=True)))
        self.configs: tuple[dict[str, Value], ...] = tuple(unique.values())
        self.incumbent: dict[str, Value] = self.configs[0]
        self.parameters = tuple(
            Parameter(name, tuple(sorted({c[name] for c in self.configs}, key=_order))) for name in names
        )
        self._index = {values: i for i, values in enumerate(unique)}

    @classmethod
    def build(cls, kernel: AnyKernel, problem: Problem, gpu: Gpu, preset: str) -> Space:
        """Enumerates a kernel's preset for a problem: makes each config canonical, drops the infeasible and the
        duplicates."""
        if preset not in kernel.spaces:
            raise InputError(f"--space: got {preset!r} for {kernel.name}; allowed: {', '.join(kernel.spaces)}")
        parameters = kernel.parameters(problem, preset)
        incumbent = kernel.canonical(problem, kernel.default_config(problem, gpu), gpu)
        names = [p.name for p in parameters]
        others = kernel.other_defaults(problem, gpu)
        candidates = (
            kernel.canonical(problem, dict(zip(names, values, strict=True)), gpu)
            for values in itertools.product(*(p.values for p in parameters))
        )
        # Many are the same once they are canonical, and to tell whether one is feasible takes longer than that.
        distinct = {tuple(config.items()): config for config in candidates}
        feasible = (c for c in distinct.values() if kernel.infeasible(problem, c, gpu) is None)
        own = kernel.own_default(problem, gpu)
        return cls(itertools.chain(others, feasible, [] if own is None else [own]), incumbent)

    def __len__(self) -> int:
        return len(self.configs)

    def index(self, config: Config) -> int:
        """Returns the position of a config in `configs`.

        Raises:
            KeyError: If it is not in the space.
        """
        return self._index[self._values(config)]

    def has(self, config: Config) -> bool:
        """Tells whether a config is in the space."""
        named = all(p.name in config for p in self.parameters)
        return named and self._values(config) in self._index

    def _values(self, config: Config) -> tuple[Value, ...]:
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
        rows = sorted((list(config.values()) for config in self.configs), key=lambda row: [_order(v) for v in row])
        text = json.dumps([[p.name for p in self.parameters], rows])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _order(value: Value) -> tuple[bool, int]:
    return (value is not None, value or 0)
