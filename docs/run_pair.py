"""Checks, tunes and times shrink and expand as a pair (`lora_linear`) on this machine's GPU.

    PYTHONPATH=. python docs/run_pair.py OUT_DIR [--seconds N] [--layers GLOB]

Three steps, each row at once in OUT_DIR/pair.json: correctness under graph replay with other adapters, fewer tokens and
none; a race in interleaved graph replays of a few configs of the pair against zeroing, shrink and expand apart, with
adapters and without; with --seconds, studies of all three kernels, and the race again of what they found.
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotune import api
from autotune.contract import Config
from autotune.environment import current_environment
from autotune.kernels.lora_expand.problem import LoraExpandProblem
from autotune.kernels.lora_linear.problem import LoraLinearProblem
from autotune.kernels.lora_shrink.problem import LoraShrinkProblem
from autotune.measure.timing import copy_bandwidth_bytes_per_s
from autotune.servers.vllm.linear import is_apart
from autotune.study.study import KernelStudy
from pair_check import check
from pair_layers import LAYERS, MS, Layer
from pair_race import candidates, compile_candidates, race


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=0.0, help="for all studies together")
    parser.add_argument("--layers", default="*", metavar="GLOB")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    layers = [layer for layer in LAYERS if fnmatch.fnmatch(layer.name, arguments.layers)]
    found: dict[str, Any] = {
        "environment": current_environment().known,
        "bandwidth_bytes_per_s": copy_bandwidth_bytes_per_s(),
    }

    def keep(name: str, row: Any) -> None:
        found.setdefault(name, []).append(row)
        (arguments.out / "pair.json").write_text(json.dumps(found, indent=1))
        print(json.dumps({name: row}), flush=True)

    for layer, m, dtype in ((layers[0], 16, "bfloat16"), (layers[0], 1, "float16"), (layers[-1], 64, "bfloat16")):
        keep("checks", check(layer, m, dtype))
    for layer in layers:
        configs = candidates(layer)
        compile_candidates(layer, configs)
        for m in MS:
            keep("race", race(layer, m, configs))
    if arguments.seconds > 0:
        tuned = tune(layers, arguments.out, arguments.seconds)
        for study in tuned.values():
            keep("studies", study_row(study))
        for layer, m in itertools.product(layers, MS):
            problem = layer.problem(m)
            best = tuned.get(f"lora_linear-{problem.label}")
            if best is not None and not is_apart(_winner(best)):
                keep("tuned race", race(layer, m, [_winner(best)], _tuned_apart(problem, tuned)))


def tune(layers: list[Layer], out: Path, seconds: float) -> dict[str, KernelStudy]:
    """Runs the studies of the pair, and of shrink and expand, of all layers; returns the finished ones by label."""
    url = f"sqlite:///{out.resolve() / 'pair.db'}"
    storage = api.open_storage(url, create=True)
    for kernel, layer in itertools.product(("lora_linear", "lora_shrink", "lora_expand"), layers):
        wanted = api.of_problems(layer.problems(kernel), api.Request(backend="cuda", source="builtin"))
        wanted.create(storage, skip_if_exists=True)
    chosen = api.find(storage)
    failures = api.run(storage, chosen, api.RunOptions(url), api.Budget(trials=60, timeout_s=seconds))
    print(json.dumps({"failures": failures}), flush=True)
    return {f"{s.spec.kernel}-{s.problem.label}": s for s in api.find(storage) if s.result is not None}


def study_row(study: KernelStudy) -> dict[str, Any]:
    result = study.result
    assert result is not None
    decision = result.decision
    return {
        "kernel": study.spec.kernel,
        "problem": study.problem.label,
        "outcome": decision.outcome,
        "incumbent_us": decision.incumbent_us,
        "tuned_us": decision.tuned_us,
        "config": dict(decision.config),
        "counts": dict(result.counts),
    }


def _tuned_apart(problem: LoraLinearProblem, tuned: Mapping[str, KernelStudy]) -> tuple[Config, Config] | None:
    """Returns the tuned configs of shrink and expand of a layer, if both studies are finished."""
    p = problem
    shrink = LoraShrinkProblem(p.dtype, p.m, p.k, p.rank, p.num_slices, p.max_loras)
    expand = LoraExpandProblem(p.dtype, p.m, p.rank, p.n, p.num_slices, p.max_loras, slice_widths=p.slice_widths)
    one, other = tuned.get(f"lora_shrink-{shrink.label}"), tuned.get(f"lora_expand-{expand.label}")
    return (_winner(one), _winner(other)) if one and other else None


def _winner(study: KernelStudy) -> Config:
    assert study.result is not None
    return study.result.decision.config


if __name__ == "__main__":
    main()
