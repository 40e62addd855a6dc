"""A plan goes by the installed server's answer, compares it with the tables, and refuses in the server's words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.errors import InputError
from autotune.model.shape import load
from autotune.plan.plan import make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from autotune.servers.vllm.from_server import asking
from autotune.servers.vllm.from_server.answer import DenseAnswer, Job, WrappedAnswer

SERVING = Serving("vllm", 1, 16, 4)
QKV = DenseAnswer("qkv_proj", "", "column", 4096, 16, (4096, 1024, 1024))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> list[Job]:
    """Installs a server whose classes answer `ANSWER`; returns the jobs it was asked."""
    jobs: list[Job] = []
    monkeypatch.setenv("AUTOTUNE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(asking, "version", lambda: "0.33.0")
    _answers(monkeypatch, jobs, WrappedAnswer(dense=((QKV, 36),), uncalled=("conv1d",)))
    return jobs


def test_a_plan_is_what_the_server_answers(asked: list[Job]) -> None:
    made = make(load("Qwen3-8B"), SERVING, Batches(), road="auto")
    found = {(shape.op, shape.dims["num_slices"], shape.dims["k"], shape.dims["n"]) for shape in made.shapes}
    assert found == {("shrink", 3, 4096, 16), ("expand", 3, 16, 4096)}
    told = " ".join(made.warnings)
    assert "read off the classes of the installed vLLM 0.33.0" in told
    assert "conv1d: the server wraps it and never calls" in told
    assert "the tool's tables have" in told and "k=12288" in told


def test_an_answer_is_kept(asked: list[Job]) -> None:
    for _ in range(2):
        make(load("Qwen3-8B"), SERVING, Batches(), road="server")
    assert len(asked) == 1
    make(load("Qwen3-8B"), replace(SERVING, tp=2), Batches(), road="server")
    assert [job.tp for job in asked] == [1, 2]


def test_a_refusal_is_in_the_servers_words(asked: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    _answers(monkeypatch, asked, WrappedAnswer(refused="vocab size must be <= 258048"))
    with pytest.raises(InputError, match=r"vLLM 0\.33\.0 refuses it: vocab size must be <= 258048"):
        make(load("Qwen3-8B"), SERVING, Batches(), road="auto")


def test_classes_that_cannot_be_built_leave_the_tables(asked: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    _answers(monkeypatch, asked, WrappedAnswer(failed="no data"))
    made = make(load("Qwen3-8B"), SERVING, Batches(), road="auto")
    assert "could not be built here: no data" in made.warnings[0]
    assert made.shapes == make(load("Qwen3-8B"), SERVING, Batches(), road="tables").shapes
    with pytest.raises(InputError, match=r"--from-server: the classes of vLLM 0\.33\.0 could not be built"):
        make(load("Qwen3-8B"), SERVING, Batches(), road="server")


def test_a_child_that_dies_is_told_of() -> None:
    answer = asking._run(Job({}, 1, 16, False, False, None))  # there is no server in this environment
    assert answer.failed is not None and "vllm" in answer.failed


def _answers(monkeypatch: pytest.MonkeyPatch, jobs: list[Job], answer: WrappedAnswer) -> None:
    def run(job: Job) -> WrappedAnswer:
        jobs.append(job)
        return answer

    monkeypatch.setattr(asking, "_run", run)
