"""Times the search of one shape beside the grid that vLLM's own tuning script goes through, in one run.

    PYTHONPATH=.:SERVER python docs/run_grid.py OUT.json [--configs 40] [--m 64]

The script times each of thousands of configs for a second at least (`blocked_autorange`, min_run_time 1): so many drawn
at random are timed as it does, and the whole is their mean times the number of configs. Both are of the server's own
shrink of Qwen3-8B's qkv at rank 16.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from autotune import api
from autotune.contract import AnyKernel, Problem, registry
from autotune.contract.space import Space
from autotune.environment import current_environment, current_gpu
from autotune.study.describe import describe
from autotune.study.sources import reference

_LEAST_S = 1.0
_SHAPE: dict[str, Any] = {"lora_rank": 16, "num_loras": 4, "num_slices": 3, "dtype": "bfloat16"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--configs", type=int, default=40)
    parser.add_argument("--m", type=int, default=64)
    parser.add_argument("--hidden-size", type=int, default=4096)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    kernel = registry.load(reference("lora_shrink", "served", "cuda"))
    problem = kernel.problem_from_flags({**_SHAPE, "m": arguments.m, "hidden_size": arguments.hidden_size})
    grid = Space.build(kernel, problem, current_gpu(), "vllm-grid")
    ours = _searched(kernel, problem)
    timed = _grid_s(kernel, problem, grid, arguments.configs, arguments.device)
    found = {
        "kernel": kernel.name,
        "problem": problem.label,
        "environment": current_environment().known,
        "ours": ours,
        "grid_configs": len(grid),
        "sampled": len(timed),
        "sampled_s": round(sum(timed), 1),
        "grid_s": round(sum(timed) / len(timed) * len(grid)),
    }
    arguments.out.write_text(json.dumps(found))
    print(f"ours {ours['wall_s']} s; grid {found['grid_s']} s, {len(grid)} configs, of which {len(timed)} were timed")


def _searched(kernel: AnyKernel, problem: Problem) -> dict[str, Any]:
    """Makes and runs the study, as `tune` does."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/studies.db"
        storage = api.open_storage(url, create=True)
        name, spec = describe(api.Request(kernel.name, backend="cuda"), problem)
        api.StudySet({name: spec}).create(storage)
        start_s = time.monotonic()
        api.run(storage, api.find(storage), api.RunOptions(url), api.Budget(trials=100))
        wall_s = time.monotonic() - start_s
        (study,) = api.find(storage)
        assert study.result is not None
        return {"wall_s": round(wall_s, 1), "counts": dict(study.result.counts)}


def _grid_s(kernel: AnyKernel, problem: Problem, grid: Space, count: int, device: str) -> list[float]:
    """Times configs as the server's script does; returns what each took, with its compilation."""
    from torch.utils.benchmark import Timer

    inputs = kernel.make_inputs(problem, device, 0)
    found = []
    for config in random.Random(0).sample(grid.configs, min(count, len(grid))):
        start_s = time.monotonic()
        try:
            Timer("run()", globals={"run": partial(kernel.run, inputs, config)}).blocked_autorange(
                min_run_time=_LEAST_S
            )
        except Exception as error:  # the script catches out of resources alone; what fails costs time, too
            print(f"{config}: {type(error).__name__}")
        found.append(time.monotonic() - start_s)
    return found


if __name__ == "__main__":
    main()
