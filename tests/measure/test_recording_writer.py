"""A written recording is read as any, replayed, and says whose kernel it is of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autotune.contract import AnyKernel, Problem, registry
from autotune.contract.gpu import H200
from autotune.contract.space import Space
from autotune.environment import Environment
from autotune.errors import InputError
from autotune.measure import recording
from autotune.measure.recording_writer import NewRecording
from autotune.measure.result import Measurement
from autotune.study.describe import Request, describe
from autotune.untrusted import reading
from tests.builders import served_vllm

HERE = Environment("NVIDIA H200", driver="580.1", torch="2.11.0", triton="3.6.0")
FLAGS = {"m": 64, "hidden_size": 4096, "lora_rank": 16, "num_loras": 4, "dtype": "float16"}


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AnyKernel:
    monkeypatch.syspath_prepend(served_vllm.install(tmp_path / "site"))
    return registry.load("lora_shrink@vllm-0.33.0")


@pytest.fixture
def problem(kernel: AnyKernel) -> Problem:
    return kernel.problem_from_flags(FLAGS)  # type: ignore[no-any-return]


def test_what_was_swept_is_replayed(kernel: AnyKernel, problem: Problem, tmp_path: Path) -> None:
    folder = tmp_path / "recorded"
    new = NewRecording.of(folder, kernel, problem, HERE)
    configs = Space.build(kernel, problem, H200, "vllm-grid").configs[:5]
    found = [
        Measurement("ok", (12.0, 11.0, 14.0), compile_s=0.5),
        Measurement("pruned", (300.0,)),
        Measurement("out_of_resources", message="too much", compile_s=1.0),
        Measurement("wrong_result", message="wrong"),
        Measurement("ok", (9.0, 9.0, 9.0)),
    ]
    new.write(zip(configs, found, strict=True), 4.2e12)
    read = recording.load(new.path)
    assert read.configs == tuple(configs)
    assert [m.status for m in read.measurements] == ["ok", "pruned", "out_of_resources", "crashed", "ok"]
    assert (read.best_us, read.measurements[0].median_us) == pytest.approx((9.0, 12.0))
    assert recording.machine(folder).environment == HERE
    name, spec = describe(Request("lora_shrink", backend="replay", recorded_dir=folder), problem)
    assert (spec.source, spec.space) == ("vllm", new.name)
    assert name.endswith("-replay")
    told = reading.read_toml(folder / "machine.toml")["recorded"][new.name]
    assert told == {"kernel": "lora_shrink@vllm-0.33.0", "source_hash": kernel.origin().source_hash}  # type: ignore[union-attr]


def test_a_second_recording_joins_the_first_and_none_is_replaced(
    kernel: AnyKernel, problem: Problem, tmp_path: Path
) -> None:
    ok = [(kernel.default_config(problem, H200), Measurement("ok", (1.0, 1.0, 1.0)))]
    larger = replace(problem, m=128)  # type: ignore[call-arg]
    for each in (problem, larger):
        NewRecording.of(tmp_path, kernel, each, HERE).write(ok, 4.2e12)
    assert len(recording.find(tmp_path)) == 2
    with pytest.raises(InputError, match="is there; remove it"):
        NewRecording.of(tmp_path, kernel, problem, HERE)
    with pytest.raises(InputError, match="holds recordings of"):
        NewRecording.of(tmp_path, kernel, replace(problem, m=256), replace(HERE, triton="3.8.0"))  # type: ignore[call-arg]
    ours = NewRecording.of(tmp_path, registry.load("lora_shrink"), problem, HERE)
    assert ours.name.startswith("builtin_shrink_")


def test_what_no_name_tells_is_refused_before_anything_runs(tmp_path: Path) -> None:
    kernel = registry.load("lora_shrink")
    with pytest.raises(InputError, match="cannot be told by a recording's name"):
        NewRecording.of(tmp_path, kernel, kernel.problem_from_flags({**FLAGS, "dtype": "bfloat16"}), HERE)
