"""Runs a script for the GPU from beginning to end where there is none, so that no GPU time is lost to a fault of it.

    python docs/dry_run.py SERVER_FOLDER bash docs/run_served.sh OUT

Every process of the command believes in an H200 whose times are made up: kernels' own estimates, with noise. Nothing
is compiled or launched; spaces, searches, races, exports, checks, loaders and files are real. SERVER_FOLDER holds the
modules of a server, as `pytest --served DIR` takes them. `bench serve` runs an engine that makes its times up, too.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parents[1]
_BANDWIDTH_BYTES_PER_S = 4.2e12


def main(server: str, *command: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sitecustomize.py").write_text("import dry_run\ndry_run.pretend()\n")
        path = [folder, str(Path(__file__).parent), str(ROOT), server, os.environ.get("PYTHONPATH", "")]
        cache = os.environ.get("AUTOTUNE_CACHE_DIR", f"{folder}/cache")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path), "AUTOTUNE_CACHE_DIR": cache}
        return subprocess.run(command, env=environment, check=False).returncode


def pretend() -> None:
    """Makes this process believe in a GPU."""
    from autotune import environment
    from autotune.contract.gpu import H200

    # The installed versions: files timed with another Triton than the server would run on are findings of a check.
    torch_here, triton_here = (environment.installed_version(package) or "none" for package in ("torch", "triton"))
    about = environment.Environment(H200.name, "580.0", "13.0", torch_here, triton_here)
    made_up: dict[str, Callable[[], Any]] = {
        "cuda_available": lambda: True,
        "driver_installed": lambda: True,
        "current_gpu": lambda: H200,
        "current_environment": lambda: about,
        "gpu_uuid": lambda: None,
        "gpu_of_driver": lambda: H200.name,
    }
    for name, answer in made_up.items():
        setattr(environment, name, answer)
    import torch

    from autotune.measure import machine, timing

    machine.Machine = PretendMachine  # type: ignore[assignment,misc]
    timing.CudaGraphTimer = lambda *_: SimpleNamespace(sample_us=lambda: 1.0)  # type: ignore[assignment,misc]
    torch.cuda.get_device_name = lambda *_: H200.name
    move = torch.Tensor.to
    torch.Tensor.to = lambda tensor, *how, **named: tensor if how == ("cuda",) else move(tensor, *how, **named)  # type: ignore[assignment,method-assign]
    _pretend_engine()


def _pretend_engine() -> None:
    from autotune.servers.vllm.server import Vllm
    from tests.builders.fake_engine import FakeEngine

    Vllm.engine = lambda self: FakeEngine()  # type: ignore[method-assign]


class PretendMachine:
    """Stands for `autotune.measure.machine.Machine`."""

    gpu = None
    copy_bandwidth_bytes_per_s = _BANDWIDTH_BYTES_PER_S

    def __init__(self, *_: object) -> None:
        self.worker = SimpleNamespace(call=lambda *_: _BANDWIDTH_BYTES_PER_S)

    def backend(self, task: Any) -> PretendBackend:
        return PretendBackend(task)

    def race(self, entrants: Sequence[tuple[Any, Any]], rounds: int) -> list[Any]:
        return [self.backend(task).race([config], rounds)[0] for task, config in entrants]

    def close(self) -> None: ...

    def __enter__(self) -> PretendMachine:
        return self

    def __exit__(self, *_: object) -> None: ...


class PretendBackend:
    """Makes times up: what the kernel expects of a config, a little off for each, with noise."""

    name = "cuda"

    def __init__(self, task: Any) -> None:
        from autotune.contract import registry

        self._kernel, self._task = registry.load(task.kernel), task
        self._random = random.Random(0)

    def compile_ahead(self, configs: Sequence[Any]) -> None: ...

    def wait_compiled(self, configs: Sequence[Any]) -> list[Any]:
        return list(configs)

    def compile_failure(self, config: Any) -> None:
        return None

    def measure(self, config: Any, limit_us: float | None) -> Any:
        return self._measured(config, 7)

    def race(self, configs: Sequence[Any], rounds: int) -> list[Any]:
        return [self._measured(config, rounds) for config in configs]

    def close(self) -> None: ...

    def _measured(self, config: Any, count: int) -> Any:
        from autotune.measure.result import Measurement

        expected = self._kernel.estimate_us(self._task.problem, config, self._task.gpu) or 10.0
        own = expected * (1 + 0.2 * random.Random(str(sorted(config.items()))).random())
        samples = tuple(own * self._random.uniform(0.995, 1.005) for _ in range(count))
        names = [workload.name for workload in self._kernel.workloads(self._task.problem)]
        return Measurement("ok", samples, workloads_us=dict.fromkeys(names, samples) if len(names) > 1 else {})


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
