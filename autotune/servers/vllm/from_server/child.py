"""Runs the child process: ``python -m autotune.servers.vllm.from_server.child JOB ANSWER``, both JSON files."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from dataclasses import asdict
from functools import cache
from pathlib import Path

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


def main(job_file: str, answer_file: str) -> None:
    """Answers one job."""
    answered = answer(Job(**json.loads(Path(job_file).read_text())))
    Path(answer_file).write_text(json.dumps(asdict(answered)))


def answer(job: Job) -> WrappedAnswer:
    """Answers a job; whatever goes wrong is part of the answer. The stand-ins stay in this process."""
    try:
        return _built(job)
    except (ValueError, AssertionError) as error:  # how the server's configs and layers refuse
        told = _told(error)
        own = any(part in told for part in _NOT_THE_SERVERS_WORD)
        return WrappedAnswer(failed=told) if own else WrappedAnswer(refused=told)
    except Exception as error:  # the server's, torch's, Transformers': its classes cannot be built here
        return WrappedAnswer(failed=_told(error))


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
    from autotune.servers.vllm.from_server.absent import stand_in_for_packages
    from autotune.servers.vllm.from_server.fakes import fake_machine, fake_server

    stand_in_for_packages()
    fake_machine()
    fake_server()


def _told(error: BaseException) -> str:
    """Returns an error in one line; one without a text by its place."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if type(error).__name__ == "ValidationError" and len(lines) > 1:
        lines = [lines[1].removeprefix("Value error, ").partition(" [type=")[0]]
    if lines:
        return lines[0]
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(place.filename).name}, line {place.lineno}: {place.line}"


if __name__ == "__main__":
    main(*sys.argv[1:])
