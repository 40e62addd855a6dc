"""Runs Kernel Tuner's search strategies on a recorded space, through its own package, in its simulation mode."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

from autotune.contract import Config
from autotune.measure.recording import Recording
from autotune.measure.result import COMPILE_FAILURES

STRATEGIES = {
    "kt-genetic": "genetic_algorithm",
    "kt-annealing": "simulated_annealing",
    "kt-diff-evo": "diff_evo",
    "kt-greedy-ils": "greedy_ils",
    "kt-pso": "pso",
    "kt-bayes": "bayes_opt",
}
_NO_START = {"kt-bayes"}
"""Strategies that cannot be told where to begin."""

_UNSET = 0
"""Stands for None: Kernel Tuner wants numbers."""


def installed() -> bool:
    return importlib.util.find_spec("kernel_tuner") is not None


def run(name: str, recording: Recording, budget: int, seed: int) -> list[Config]:
    """Returns the configs a strategy evaluates, in order, repeats left in; none where it fails.

    It stops after `budget` distinct ones, and as many more as is the share of configs in the space that do not compile.
    """
    configs = len(recording.configs)
    compiled = sum(m.status not in COMPILE_FAILURES for m in recording.measurements)
    options: dict[str, Any] = {"max_fevals": min(round(budget * configs / compiled), configs)}
    begun: dict[str, Any] = {"x0": list(_numbers(recording.space.incumbent).values())}
    # Some fail at a config of which no neighbour is in the space, as a server's default has none outside the grid.
    for start in ({},) if name in _NO_START else (begun, {}):
        with contextlib.suppress(Exception):
            return _tuned(recording, STRATEGIES[name], {**options, **start}, seed)
    return []


def _tuned(recording: Recording, strategy: str, options: dict[str, Any], seed: int) -> list[Config]:
    from kernel_tuner import tune_kernel

    allowed = {tuple(_numbers(c).values()) for c in recording.space.configs}

    # A lambda would be taken apart and recompiled from its source.
    def feasible(chosen: dict[str, int]) -> bool:
        return tuple(chosen[n] for n in names) in allowed

    names = [p.name for p in recording.space.parameters]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        cache = Path(folder) / "cache.json"
        cache.write_text(json.dumps(_cache(recording)))
        results, _ = tune_kernel(
            recording.kernel,
            "",
            (1,),
            [],
            _values(recording),
            restrictions=[feasible],
            lang="C",
            strategy=strategy,
            strategy_options=options,
            cache=str(cache),
            simulation_mode=True,
            quiet=True,
            seed=seed,
        )
    return [{n: _plain(recording, n, found[n]) for n in names} for found in results]


def _numbers(config: Config) -> dict[str, int]:
    return {name: _UNSET if value is None else value for name, value in config.items()}


def _plain(recording: Recording, name: str, value: int) -> int | None:
    unset = any(p.name == name and None in p.values for p in recording.space.parameters)
    return None if unset and value == _UNSET else int(value)


def _values(recording: Recording) -> dict[str, list[int]]:
    return {p.name: [_UNSET if v is None else v for v in p.values] for p in recording.space.parameters}


def _cache(recording: Recording) -> dict[str, Any]:
    """Formats a recorded space as a Kernel Tuner cache file."""
    cache = {}
    for config, measurement in zip(recording.configs, recording.measurements, strict=True):
        entry: dict[str, Any] = {name: _numbers(config)[name] for name in (p.name for p in recording.space.parameters)}
        key = ",".join(str(value) for value in entry.values())
        entry["time"] = "RuntimeFailedConfig" if measurement.failed else measurement.median_us / 1e3
        zero = dict.fromkeys(("compile_time", "verification_time", "benchmark_time", "strategy_time"), 0.0)
        cache[key] = entry | zero | {"framework_time": 0.0, "timestamp": "2000-01-01 00:00:00+00:00"}
    return {
        "device_name": "recorded",
        "kernel_name": recording.kernel,
        "problem_size": [1],
        "tune_params_keys": [p.name for p in recording.space.parameters],
        "tune_params": _values(recording),
        "objective": "time",
        "cache": cache,
    }
