"""The child process: what is a refusal of the server, and what failed here alone."""

from __future__ import annotations

import linecache
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune.servers.vllm.from_server import child
from autotune.servers.vllm.from_server.answer import Job, WrappedAnswer

JOB = Job(config={}, tp=1, rank=16, fully_sharded=False, expert_parallel=False, target_modules=None)


def answered(monkeypatch: pytest.MonkeyPatch, error: Exception) -> WrappedAnswer:
    def built(_: Job) -> Any:
        return (_ for _ in ()).throw(error)  # by no line that raises: this file's folder is named as the server is

    monkeypatch.setattr(child, "_built", built)
    return child.answer(JOB)


def test_what_the_server_says_of_the_model_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    found = answered(monkeypatch, ValueError("Total number of attention heads (9) must be divisible by 8\nmore"))
    assert (found.refused, found.failed) == ("Total number of attention heads (9) must be divisible by 8", None)


def test_what_code_of_the_server_raises_is_a_refusal_and_what_torch_raises_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def raised(folder: str, line: str) -> WrappedAnswer:
        file = tmp_path / folder / "model.py"
        file.parent.mkdir(exist_ok=True)
        try:
            exec(compile(f"{line}\n", str(file), "exec"), {"raise_it": None})
        except (RuntimeError, AttributeError) as error:
            file.write_text(line)
            linecache.checkcache(str(file))
            return answered(monkeypatch, error)
        raise AssertionError

    for kind in ("RuntimeError", "AttributeError"):
        assert raised("vllm", f"raise {kind}('No MoE layer found')").refused == "No MoE layer found"
        assert raised("torch", f"raise {kind}('No MoE layer found')").failed == "No MoE layer found"
    assert raised("vllm", "raise_it.now").failed == "'NoneType' object has no attribute 'now'"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("You cannot pass text prompts when `skip_tokenizer_init=True`"),
        ValueError("a mismatch between the model config and vLLM's expectations"),
        AttributeError("'RemoteConfig' object has no attribute 'x'"),
    ],
)
def test_what_comes_of_building_it_here_is_none(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    found = answered(monkeypatch, error)
    assert found.refused is None
    assert found.failed == str(error)


def test_weights_that_cannot_be_made_here_give_way_to_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer says what kept the format from being built; a refusal stays one."""

    def built(job: Job) -> WrappedAnswer:
        if "quantization_config" in job.config["text_config"]:
            raise error
        return WrappedAnswer(uncalled=("conv1d",))

    config = {"text_config": {"quantization_config": {"quant_method": "torchao"}, "hidden_size": 1}}
    monkeypatch.setattr(child, "_built", built)
    error: Exception = ImportError("Please install torchao")
    found = child.answer(replace(JOB, config=config))
    assert (found.uncalled, found.failed, found.plain) == (("conv1d",), None, "Please install torchao")
    error = ValueError("Unknown quantization method: hqq")
    assert child.answer(replace(JOB, config=config)).refused == "Unknown quantization method: hqq"


def test_nulls_that_stop_the_server_are_told_from_what_cannot_be_built_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def built(job: Job) -> WrappedAnswer:
        if "rope_theta" in job.config or "own" in job.config:
            raise TypeError("unsupported operand type(s) for **: 'NoneType' and 'float'")
        return WrappedAnswer()

    monkeypatch.setattr(child, "_built", built)
    refused = child.answer(replace(JOB, config={"rope_theta": None})).refused
    assert refused is not None
    assert "at a null in the config" in refused
    found = child.answer(replace(JOB, config={"rope_theta": None, "own": 1}))
    assert (found.refused, found.failed) == (None, "unsupported operand type(s) for **: 'NoneType' and 'float'")
