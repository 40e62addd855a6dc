"""The child process: what is a refusal of the server, and what failed here alone."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.servers.vllm.from_server import child
from autotune.servers.vllm.from_server.answer import Job, WrappedAnswer

JOB = Job(config={}, tp=1, rank=16, fully_sharded=False, expert_parallel=False, target_modules=None)


def answered(monkeypatch: pytest.MonkeyPatch, error: Exception) -> WrappedAnswer:
    def built(_: Job) -> Any:
        raise error

    monkeypatch.setattr(child, "_built", built)
    return child.answer(JOB)


def test_what_the_server_says_of_the_model_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    found = answered(monkeypatch, ValueError("Total number of attention heads (9) must be divisible by 8\nmore"))
    assert (found.refused, found.failed) == ("Total number of attention heads (9) must be divisible by 8", None)


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
