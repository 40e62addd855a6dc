"""What flags are that nobody gives is the choice of the kernel that is timed, not of ours of the same op."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import InputError, NotInstalledError
from autotune.study.creation import describe_flags, problems_to_time
from autotune.study.describe import Request
from tests.builders.sglang_at_hand import machine

FLAGS: dict[str, Any] = {
    "hidden_size": 1024,
    "lora_rank": 64,
    "num_slices": 3,
    "dtype": "float16",
    "chunk_sizes": (16,),
}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    with machine(monkeypatch, tmp_path / "site"):
        yield


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with machine(monkeypatch, None):
        yield


def request(source: str, backend: str = "auto", kernel: str = "csgmv_shrink") -> Request:
    return Request(kernel, backend, source=source, allow_unknown_server=True)


def timed(source: str, backend: str = "auto", **flags: Any) -> list[tuple[str, str]]:
    """Returns kernels and workloads of the studies that flags describe."""
    specs = describe_flags(request(source, backend), FLAGS | flags, ())
    return [(spec.kernel, spec.problem["workload"]) for spec in specs.values()]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("source", "backend", "kernel", "workload"),
    [
        ("auto", "auto", "csgmv_shrink@sglang-0.5.23", "mixed"),
        ("served", "cuda", "csgmv_shrink@sglang-0.5.23", "mixed"),
        ("builtin", "auto", "csgmv_shrink", "prefill"),
        ("auto", "replay", "csgmv_shrink", "prefill"),
        ("served", "replay", "csgmv_shrink", "prefill"),
    ],
)
def test_the_kernel_that_is_timed_chooses_the_batches(source: str, backend: str, kernel: str, workload: str) -> None:
    """Recordings have prompts alone, whichever kernel they are of."""
    assert timed(source, backend) == [(kernel, workload)]
    if backend != "replay":
        assert timed(source, backend, workload="decode") == [(kernel, "decode")]


@pytest.mark.usefixtures("bare")
def test_without_the_server_it_is_ours() -> None:
    assert timed("auto") == [("csgmv_shrink", "prefill")]


@pytest.mark.usefixtures("installed")
def test_a_kernel_that_names_its_source_chooses_whatever_source_is_asked_for() -> None:
    for name, workload in (("csgmv_shrink@sglang", "mixed"), ("csgmv_shrink@sglang-0.5.23", "mixed")):
        (problem,) = problems_to_time(request("builtin", "cuda", name), FLAGS, ())
        assert problem.to_json()["workload"] == workload


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["csgmv_shrink@sglang", "csgmv_shrink@sglang-0.5.23"])
def test_a_replay_of_a_kernel_that_names_its_source_is_of_prompts(name: str) -> None:
    (spec,) = describe_flags(request("auto", "replay", name), FLAGS, ()).values()
    assert (spec.kernel, spec.problem["workload"]) == ("csgmv_shrink@sglang-0.5.23", "prefill")


@pytest.mark.usefixtures("installed")
def test_decode_requests_need_no_workload_where_decode_is_timed_anyway() -> None:
    (spec,) = describe_flags(request("served"), FLAGS | {"decode_requests": (8, 16)}, ()).values()
    assert spec.problem["decode_requests"] == [8, 16]
    for source, backend in (("builtin", "auto"), ("auto", "replay")):
        with pytest.raises(InputError, match="--decode-requests: got 8, 16 for --workload prefill"):
            describe_flags(request(source, backend), FLAGS | {"decode_requests": (8, 16)}, ())


@pytest.mark.usefixtures("bare")
def test_missing_flags_are_told_before_a_server_that_is_not_here() -> None:
    with pytest.raises(InputError, match=r"--hidden-size, --lora-rank.*: not given"):
        describe_flags(request("served"), {}, ())
    for flags in (FLAGS, FLAGS | {"decode_requests": (8,)}, FLAGS | {"lora_rank": 0}):
        with pytest.raises(NotInstalledError, match="sglang is not installed here"):
            describe_flags(request("served"), flags, ())


@pytest.mark.usefixtures("installed")
def test_missing_flags_are_told_of_the_servers_own_kernel_too() -> None:
    with pytest.raises(InputError, match=r"--hidden-size, --lora-rank.*: not given"):
        describe_flags(request("served"), {}, ())
