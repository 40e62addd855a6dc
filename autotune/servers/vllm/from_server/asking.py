"""Asks a child process for what vLLM's own classes wrap, and keeps its answers in the tool's cache folder."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from importlib import util
from pathlib import Path

from autotune.environment import installed_version
from autotune.errors import InputError
from autotune.model.shape import ModelShape
from autotune.paths import cache_dir
from autotune.servers.serving import Serving
from autotune.servers.vllm import facts
from autotune.servers.vllm.from_server.answer import Job, WrappedAnswer

TIMEOUT_S = 600.0
_CHILD = "autotune.servers.vllm.from_server.child"
_CODE = ("absent.py", "answer.py", "building.py", "calls.py", "child.py", "fakes.py", "reading.py")


def version() -> str | None:
    """Returns the installed server's version without importing it; None where none is installed."""
    return installed_version(facts.NAME) if util.find_spec(facts.NAME) else None


def ask(model: ModelShape, serving: Serving, installed: str) -> WrappedAnswer:
    """Returns what the classes of the installed server wrap.

    Raises:
        InputError: If the server refuses to serve the model so.
    """
    job = job_of(model, serving)
    file = cache_dir() / "wrapped" / f"{facts.NAME}-{installed}" / f"{_digest(job)}.json"
    answer = _cached(file) or _run(job)
    if answer.failed is None:
        _keep(file, answer)
    if answer.refused is not None:
        raise InputError(f"{model.origin}: vLLM {installed} refuses it: {answer.refused}; change the flag or the model")
    return answer


def job_of(model: ModelShape, serving: Serving) -> Job:
    """Returns what the classes are asked."""
    return Job(
        config={**model.config, **model.overrides},
        tp=serving.tp,
        rank=serving.rank,
        fully_sharded=serving.fully_sharded,
        expert_parallel=serving.expert_parallel,
        target_modules=None if serving.target_modules is None else list(serving.target_modules),
        mixed_moe_format=serving.mixed_moe_format,
        moe_shared_loras=serving.moe_shared_loras,
        tower_connector=serving.tower_connector,
    )


def _digest(job: Job) -> str:
    """Stands for the job and for the code that answers it."""
    digest = hashlib.sha256(json.dumps(asdict(job), sort_keys=True).encode())
    for name in _CODE:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()[:24]


def _cached(file: Path) -> WrappedAnswer | None:
    try:
        return WrappedAnswer.from_json(json.loads(file.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(file: Path, answer: WrappedAnswer) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(answer)))
    except OSError:  # it is asked again
        return


def _run(job: Job) -> WrappedAnswer:
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder, "job.json"), Path(folder, "answer.json")
        question.write_text(json.dumps(asdict(job)))
        try:
            done = subprocess.run(
                [sys.executable, "-m", _CHILD, str(question), str(answer)],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
            return WrappedAnswer.from_json(json.loads(answer.read_text()))
        except subprocess.TimeoutExpired:
            return WrappedAnswer(failed=f"its classes were not built within {TIMEOUT_S:.0f} s")
        except (OSError, ValueError):
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return WrappedAnswer(failed=f"the process ended with exit code {done.returncode} ({last})")
