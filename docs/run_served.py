"""Tells what exported files are worth on the server's own kernels: against no folder, and against the best there is.

    PYTHONPATH=.:SERVER python docs/run_served.py never-slower URL DIR OUT.json [--decode N,N] [--active N,N]
    PYTHONPATH=.:SERVER python docs/run_served.py regret URL OUT.json [--around N] [--whole GLOBS]

`never-slower` races every entry of DIR against what the server launches without the folder, both found by the server's
own loader, in A B B A order; with --decode also on batches of so many requests, where the server looks those up by the
entry's key, and with --active also on batches that use so many of the adapters. `regret` times many configs of each
searched study's space (near the exported one and at random, or the whole space), and races the ten fastest and the
exported one again on fresh inputs. Both stop after --seconds N.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autotune.config.diff import differences
from autotune.config.entry_problem import place_of
from autotune.contract import Call, Config, Problem, config_key, groups
from autotune.contract.space import Space
from autotune.environment import current_environment
from autotune.kernels.common.csgmv import CsgmvProblem
from autotune.measure.cuda import CudaBackend
from autotune.measure.machine import Machine
from autotune.measure.task import Task
from autotune.run.finalists import compare
from autotune.servers.places import BUILTIN_FOLDER
from autotune.study import studies
from autotune.study.storage import open_storage
from autotune.study.study import KernelStudy
from served_loaders import loaded

_ROUNDS = 100
_TOP = 10
_CHUNK = 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    slower = commands.add_parser("never-slower")
    slower.add_argument("url")
    slower.add_argument("folder", type=Path)
    slower.add_argument("--decode", default="", metavar="N,N", help="SGLang: requests of decode batches")
    slower.add_argument("--active", default="", metavar="N,N", help="adapters in use, of those that there is room for")
    regret = commands.add_parser("regret")
    regret.add_argument("url")
    regret.add_argument("--around", type=int, default=300, metavar="N")
    regret.add_argument("--whole", default="", metavar="GLOBS", help="of studies, with commas between")
    for command in (slower, regret):
        command.add_argument("out", type=Path)
        command.add_argument("--seconds", type=float, default=300.0)
    arguments = parser.parse_args()
    storage = open_storage(arguments.url)
    found = [studies.load(storage, name) for name in studies.names(storage)]
    chosen = [item for item in found if item.result is not None and item.spec.source != "builtin"]
    end_s = time.monotonic() + arguments.seconds
    with Machine() as machine:
        if arguments.command == "never-slower":
            further = Further(*(_numbers(given) for given in (arguments.decode, arguments.active)))
            rows = never_slower(machine, chosen, arguments.folder, further, end_s)
        else:
            searched = [item for item in chosen if item.result is not None and not item.result.raced_from]
            rows = regrets(machine, searched, arguments.around, arguments.whole, end_s)
        data: dict[str, Any] = {"environment": current_environment().known, "rows": []}
        for row in rows:
            data["rows"].append(row)
            arguments.out.write_text(json.dumps(data))


@dataclass(frozen=True)
class Further:
    """What entries are raced on besides what they were tuned on.

    Attributes:
        requests: Of decode batches.
        active: Adapters in use.
    """

    requests: tuple[int, ...]
    active: tuple[int, ...]


def _numbers(given: str) -> tuple[int, ...]:
    return tuple(int(each) for each in given.split(",") if each)


def never_slower(
    machine: Machine, chosen: list[KernelStudy], folder: Path, further: Further, end_s: float
) -> Iterator[dict[str, Any]]:
    """Races every entry of a folder against the server's default."""
    empty = folder.parent / "empty"
    empty.mkdir(exist_ok=True)
    like = {_shape(item.call): item for item in chosen if item.call}
    for difference in differences(empty, folder):
        if difference.file.startswith(f"{BUILTIN_FOLDER}/"):
            continue  # of ours, which the server's loader does not read
        call = place_of(folder / difference.file, difference.key).call
        item = like.get(_shape(call))
        if item is None or time.monotonic() > end_s:
            yield {"key": difference.key, "file": difference.file, "left_out": "time" if item else "no study"}
            continue
        row = {"key": difference.key, "file": difference.file, "group": item.spec.group}
        for problem in _batches(_at(item.problem, call), further):
            configs = [_without_folder(item, problem, call), _executed(item, problem, loaded(call, str(folder)))]
            yield {**row, **_raced(machine, item, problem, configs)}


def _batches(problem: Any, further: Further) -> Iterator[Problem]:
    """Yields a problem, of several kinds of batches each by itself, and what else is looked up by the same key: decode
    batches, of SGLang's kernels alone, and batches that use fewer adapters."""
    found = [problem]
    if isinstance(problem, CsgmvProblem):
        found = [workload.problem for workload in problem.workloads()]
        decode = [replace(found[0], workload="decode", tokens=tokens) for tokens in further.requests]
        found += [each for each in decode if each.launched]
    fewer = [replace(each, active_loras=n) for n in further.active for each in found if n < each.active_loras]
    yield from dict.fromkeys([*found, *fewer])


def _shape(call: Call | None) -> tuple[Any, ...]:
    assert call is not None
    return (call.op, *sorted((name, value) for name, value in call.dims.items() if name != "m"))


def _at(problem: Problem, call: Call) -> Problem:
    """Returns the problem with the call's number of tokens, where its lookup goes by that."""
    tokens: Any = {"m": call.dims["m"]} if "m" in call.dims else {}
    return replace(problem, **tokens)


def _without_folder(item: KernelStudy, problem: Problem, call: Call) -> dict[str, Any]:
    """Returns what a server launches with no folder set: of the ops of a group this is not what its loader gives."""
    if item.spec.group is None:
        return _executed(item, problem, loaded(call, None))
    return dict(item.kernel.default_config(problem, item.gpu))


def _executed(item: KernelStudy, problem: Problem, found: Config) -> dict[str, Any]:
    """Returns the kernel's own parameters of what a server found, in canonical form."""
    names = item.kernel.default_config(problem, item.gpu)
    return dict(item.kernel.canonical(problem, {name: found.get(name) for name in names}, item.gpu))


def _raced(machine: Machine, item: KernelStudy, problem: Problem, configs: list[dict[str, Any]]) -> dict[str, Any]:
    default, exported = configs
    row = {"problem": problem.label, "kernel": item.spec.kernel, "default": default, "exported": exported}
    if default == exported:
        return {**row, "gain": 0.0, "p_slower": 1.0}
    backend = machine.backend(Task(item.spec.kernel, problem, item.gpu, item.settings))
    backend.compile_ahead(configs)
    try:
        for config in configs:
            backend.compile_failure(config)
        a, b = backend.race(configs, _ROUNDS)
    finally:
        backend.close()
    if a.status != "ok" or b.status != "ok":
        return {**row, "failed": [a.status, a.message, b.status, b.message]}
    faster, slower = compare(b.samples_us, a.samples_us), compare(a.samples_us, b.samples_us)
    return {
        **row,
        "default_us": a.median_us,
        "exported_us": b.median_us,
        "gain": faster.gain,
        "p_faster": faster.p_value,
        "p_slower": slower.p_value,
    }


def regrets(
    machine: Machine, chosen: list[KernelStudy], around: int, whole: str, end_s: float
) -> Iterator[dict[str, Any]]:
    """Times many configs of each study's space; the shapes in an order that mixes sizes, so that an early end leaves a
    fair sample."""
    order = random.Random(0).sample(chosen, len(chosen))
    swept = {item.name for item in order if any(fnmatch.fnmatch(item.name, glob) for glob in whole.split(","))}
    order.sort(key=lambda item: item.name not in swept)
    begun = (Sweep.begin(machine, item, None if item.name in swept else around) for item in order)
    sweep = next(begun, None)
    while sweep is not None and time.monotonic() < end_s:
        fastest = sweep.fastest()
        # Its configs are compiled while these race.
        following = next(begun, None)
        yield sweep.raced(fastest)
        sweep = following


def _same_group(item: KernelStudy, space: Space) -> Space:
    """Returns the configs that the others of the study's group leave it: those with the common value."""
    if item.spec.group is None or item.result is None:
        return space
    won, (kind, _) = item.result.decision.config, groups.kind_of(item.spec.kernel)
    return Space([config for config in space.configs if config[kind.shared] == won[kind.shared]], won)


def _some(space: Space, item: KernelStudy, count: int) -> list[dict[str, Any]]:
    """Returns configs that differ from the exported one in one or two parameters, and as many at random, half of them
    of the grid of the server's own script."""
    assert item.result is not None
    won = item.result.decision.config
    near = _drawn([c for c in space.configs if 0 < sum(c[name] != won.get(name) for name in c) <= 2], count // 2)
    grid = _same_group(item, Space.build(item.kernel, item.problem, item.gpu, item.kernel.spaces[-1])).configs
    rest = [c for some in (space.configs, grid) for c in _drawn(some, (count - len(near)) // 2)]
    return list({config_key(c): dict(c) for c in (*near, *rest)}.values())


def _drawn(configs: Sequence[Config], count: int) -> list[Config]:
    """Draws configs at random, but of every space the same: they are compiled once for all m of a layer."""
    return sorted(configs, key=lambda config: hashlib.sha256(repr(config_key(config)).encode()).digest())[:count]


@dataclass(frozen=True)
class Sweep:
    """Many configs of a study's space, on their way to be measured.

    Attributes:
        space: Configs that the study could have chosen.
        whole: Whether `configs` are all of them.
    """

    item: KernelStudy
    space: Space
    configs: list[dict[str, Any]]
    whole: bool
    backend: CudaBackend
    start_s: float

    @classmethod
    def begin(cls, machine: Machine, item: KernelStudy, around: int | None) -> Sweep:
        """Has the first configs compiled; `around` is how many of them to take, None for all."""
        start_s = time.monotonic()
        space = _same_group(item, Space.build(item.kernel, item.problem, item.gpu, item.spec.space))
        configs = [dict(config) for config in space.configs] if around is None else _some(space, item, around)
        backend = machine.backend(Task(item.spec.kernel, item.problem, item.gpu, item.settings))
        backend.compile_ahead(configs[: 2 * _CHUNK])
        return cls(item, space, configs, around is None, backend, start_s)

    def fastest(self) -> list[dict[str, Any]]:
        """Measures all, and returns the ten fastest."""
        found: list[tuple[float, dict[str, Any]]] = []
        best_us = float("inf")
        for position, config in enumerate(self.configs):
            if position and position % _CHUNK == 0:
                self.backend.compile_ahead(self.configs[position : position + 2 * _CHUNK])
            if self.backend.compile_failure(config) is not None:
                continue
            measured = self.backend.measure(config, 1.1 * best_us if found else None)
            if measured.status == "ok":
                found.append((measured.median_us, config))
                best_us = min(best_us, measured.median_us)
        return [config for _, config in sorted(found, key=lambda pair: pair[0])[:_TOP]]

    def raced(self, fastest: list[dict[str, Any]]) -> dict[str, Any]:
        """Races the exported config and the fastest ones on fresh inputs, and returns the row of it."""
        assert self.item.result is not None
        exported = dict(self.item.result.decision.config)
        top = [exported, *(config for config in fastest if config != exported)]
        raced = self.backend.race(top, _ROUNDS)
        self.backend.close()
        best = min((m for m in raced if m.status == "ok"), key=lambda m: m.median_us)
        ratios = sorted(e / f for e, f in zip(raced[0].samples_us, best.samples_us, strict=True))
        return {
            "study": self.item.name,
            "kernel": self.item.spec.kernel,
            "problem": self.item.problem.label,
            "configs": len(self.configs),
            "space": len(self.space),
            "exported": exported,
            "exported_us": raced[0].median_us,
            "best": top[raced.index(best)],
            "best_us": best.median_us,
            "ratio": ratios[len(ratios) // 2],
            "floor_us": self.item.result.floor_us,
            "seconds": time.monotonic() - self.start_s,
            "whole": self.whole,
        }


if __name__ == "__main__":
    main()
