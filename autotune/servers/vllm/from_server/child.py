"""Runs the child process: ``python -m autotune.servers.vllm.from_server.child JOB ANSWER``, both JSON files."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from autotune.model.weights_format import FORMAT_FIELDS
from autotune.servers.vllm.from_server.answer import Job, WrappedAnswer

_NOT_THE_SERVERS_WORD = (
    "failed to be inspected",
    "Transformers does not recognize",
    "No module named",
    "not initialized",
    # Of a stand-in for the configuration class of a model's own repository, and of a model built without its tokenizer.
    "mismatch between the model config",
    "skip_tokenizer_init",
)

# How Transformers' configuration classes refuse a value, or values that do not go together.
_OF_FIELDS = ("StrictDataclassFieldValidationError", "StrictDataclassClassValidationError")


def main(job_file: str, answer_file: str) -> None:
    """Answers one job."""
    answered = answer(Job(**json.loads(Path(job_file).read_text())))
    Path(answer_file).write_text(json.dumps(asdict(answered)))


def answer(job: Job) -> WrappedAnswer:
    """Answers a job; whatever goes wrong is part of the answer. The stand-ins stay in this process.

    Some formats of quantised weights need a package or a GPU: adapters have none, so plain weights do where these fail.
    """
    told = _answer(job)
    if told.failed is None:
        return told
    if (given := _without_nulls(job.config)) != job.config and _answer(replace(job, config=given)).failed is None:
        return WrappedAnswer(refused=f"{told.failed} (it stops at a null in the config: left out, the field would do)")
    if (plain := of_plain_weights(job.config)) == job.config:
        return told
    again = _answer(replace(job, config=plain))
    return told if again.failed is not None else replace(again, plain=told.failed)


def _without_nulls(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_nulls(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if value is not None
    }


def of_plain_weights(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config without the format of quantised weights."""
    return {
        name: of_plain_weights(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name not in FORMAT_FIELDS
    }


def _answer(job: Job) -> WrappedAnswer:
    try:
        return _built(job)
    except Exception as error:  # the server's, torch's, Transformers': of those that are no refusal, none is built here
        told = _told(error)
        refused = _refuses(error) and not any(part in told for part in _NOT_THE_SERVERS_WORD)
        return WrappedAnswer(refused=told) if refused else WrappedAnswer(failed=told)


def _built(job: Job) -> WrappedAnswer:
    prepare()
    from autotune.servers.vllm.from_server.building import build
    from autotune.servers.vllm.from_server.reading import read

    with tempfile.TemporaryDirectory() as folder:
        return read(build(job, Path(folder)))


@cache
def prepare() -> None:
    """Puts the stand-ins in place, once."""
    os.environ.update(HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="ERROR", CUDA_VISIBLE_DEVICES="")
    from autotune.servers.vllm.from_server.absent import PACKAGES, stand_in_for_packages
    from autotune.servers.vllm.from_server.fakes import fake_machine, fake_server

    stand_in_for_packages(*PACKAGES)
    fake_machine()
    fake_server()


def _refuses(error: BaseException) -> bool:
    """Tells whether this is how the server's configs and layers refuse: by a wrong value, or by code of the server that
    raises what says why."""
    if isinstance(error, ValueError | AssertionError) or type(error).__name__ in _OF_FIELDS:
        return True
    if not isinstance(error, RuntimeError | AttributeError) or error.__traceback__ is None:
        return False
    place = traceback.extract_tb(error.__traceback__)[-1]
    return "vllm" in Path(place.filename).parts and (place.line or "").startswith("raise ")


def _told(error: BaseException) -> str:
    """Returns an error in one line; one without a text by its place."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if type(error).__name__ == "ValidationError" and len(lines) > 1:
        lines = [lines[1].removeprefix("Value error, ").partition(" [type=")[0]]
    elif type(error).__name__ in _OF_FIELDS:
        lines = [" ".join(lines)]
    if lines:
        return lines[0]
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(place.filename).name}, line {place.lineno}: {place.line}"


if __name__ == "__main__":
    main(*sys.argv[1:])
