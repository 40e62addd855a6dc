"""The engine's process: what it makes vLLM do, with a stand-in for vLLM; and on a GPU with vLLM itself."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from pathlib import Path

import hypothesis.strategies as st
import pytest
from cattrs.preconf.json import make_converter
from hypothesis import given

from autotune.servers.engine import EngineJob, EnginePhase, EngineResult, LoraJob
from autotune.servers.vllm.engine import VllmEngine
from autotune.servers.vllm.engine_process import ragged

ROOT = Path(__file__).parents[3]
DECODE, PREFILL = EnginePhase("decode 3", 3, 8, 5), EnginePhase("prefill 2x64", 2, 64, 1)


def measure(tmp_path: Path, lora: LoraJob | None, folder: str | None = None) -> tuple[EngineResult, str, list[object]]:
    """The result of a process, its log and what the stand-in noted."""
    model = tmp_path / "model"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text(json.dumps({"vocab_size": 32000}))
    job = EngineJob(str(model), True, lora, (DECODE, PREFILL), repeats=2, max_model_len=256)
    files = [tmp_path / name for name in ("job.json", "result.json", "notes.txt")]
    converter = make_converter()
    files[0].write_text(converter.dumps(job))
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests/builders/fake_vllm'}",
        "FAKE_VLLM_NOTES": str(files[2]),
    }
    if folder is not None:
        environment["VLLM_TUNED_CONFIG_FOLDER"] = folder
    command = VllmEngine().command(files[0], files[1])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    notes = [ast.literal_eval(line) for line in files[2].read_text().splitlines()]
    return converter.loads(files[1].read_text(), EngineResult), done.stdout, notes


def test_every_phase_is_timed_and_every_request_has_its_adapter(tmp_path: Path) -> None:
    lora = LoraJob(16, 4, ("one", "two"), used=True)
    result, _, notes = measure(tmp_path, lora)
    assert [phase.name for phase in result.phases] == ["decode 3", "prefill 2x64"]
    assert all(len(phase.ms) == len(phase.tokens_per_s) == 2 for phase in result.phases)
    assert ("asked", 3, 5, [1, 1, 2]) in notes
    assert ("asked", 2, 1, [1, 2]) in notes
    assert len(result.answers) == 64
    assert result.jit_compiles == ()


def test_lora_that_nobody_uses_is_on(tmp_path: Path) -> None:
    _, _, notes = measure(tmp_path, LoraJob(16, 4, ("one",), used=False))
    made, *asked = notes
    assert made[2] is True  # type: ignore[index]
    assert {note[3] for note in asked} == {None}  # type: ignore[index]


def test_lora_off_is_off_answers_are_the_same_each_time_and_the_log_tells_which_files_were_read(
    tmp_path: Path,
) -> None:
    first, _, notes = measure(tmp_path, None)
    second, log, _ = measure(tmp_path, None, folder="/some/tuned folder")
    assert notes[0][2] is False  # type: ignore[index]
    assert first.answers == second.answers
    assert len({answer.tokens for answer in first.answers}) > 1
    engine = VllmEngine()
    assert engine.folder_read(log) == {Path("/some/tuned folder/NVIDIA_H200_SHRINK.json")}
    assert not engine.folder_read("WARNING No LoRA kernel configs found in /some/NVIDIA_H200_SHRINK.json")


@pytest.mark.parametrize(
    ("log", "why"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 96 MiB", "not enough GPU memory"),
        ("ValueError: No available memory for the cache blocks.", "not enough GPU memory"),
        ("ValueError: LoRA rank 64 is greater than max_lora_rank 16.", "higher rank than --lora-rank"),
    ],
)
def test_the_log_of_an_engine_that_ended_tells_why(log: str, why: str) -> None:
    assert why in (VllmEngine().why_it_ended(f"INFO starting\n{log}\n") or "")
    assert VllmEngine().why_it_ended("KeyError: 'x'") is None


def test_the_log_tells_what_the_plugin_said() -> None:
    listed = "INFO Available plugins for group vllm.general_plugins: - lora_autotune -> autotune.servers:register\n"
    ignored = "lora-autotune: LORA_AUTOTUNE_KERNELS: got 'x', allowed: 1; ignored\n"
    runs = "vllm's lora_shrink run this project's kernels; configs: none"
    engine = VllmEngine()
    assert engine.plugin_said(listed) is None
    assert engine.plugin_said(f"{listed}{ignored}WARNING lora-autotune: {runs} \n") == runs
    recorded = "LORA_AUTOTUNE_TRACE: what the server looks up is recorded in trace.jsonl"
    assert engine.plugin_said(f"lora-autotune: {recorded}\n") is None
    assert engine.recorder_said(f"{listed}lora-autotune: {recorded}\n") == recorded
    assert engine.plugin_said("lora-autotune: vllm runs its own kernels: why\n") == "vllm runs its own kernels: why"


@given(st.integers(1, 300), st.integers(1, 20))
def test_adapters_are_ragged_and_none_is_left_out(requests: int, adapters: int) -> None:
    slots = ragged(requests, adapters)
    counts = [slots.count(adapter) for adapter in range(adapters)]
    assert len(slots) == requests
    assert len(set(slots)) == min(requests, adapters)
    assert counts == sorted(counts, reverse=True)
