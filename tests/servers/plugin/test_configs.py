"""Which tuned configs the plug-in launches, and what it warns of, once."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from autotune.contract import Call
from autotune.servers import provenance, stand_back
from autotune.servers.lookup import Failure, Lookup, Step
from autotune.servers.plugin import notices
from autotune.servers.plugin.configs import TunedConfigs, Tuner

CALL = Call("some", "op", {"m": 16})
HERE = Tuner("NVIDIA H200", "1234")
ENTRY = {"block_m": 16, "num_warps": 4}
ABOUT = {"source": "builtin", "kernel_fingerprint": "1234", "environment": {"gpu": "NVIDIA H200"}}


@pytest.fixture(autouse=True)
def _not_told_yet() -> None:
    notices._told.clear()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def configs(folder: Path, found: Lookup | None = None, about: dict[str, Any] | None = None) -> TunedConfigs:
    """Lays out a folder with one entry and its side-car."""
    path = folder / "file.json"
    path.write_text("{}")
    if about is not None:
        entry = {"file": path.name, "key": ["16"], "kind": "own", "study": "s", "config": ENTRY, "provenance": about}
        (folder / provenance.FILE_NAME).write_text(json.dumps({"schema_version": 1, "entries": [entry]}))
    usual = Lookup("file", dict(ENTRY), (Step("m", 16, "16", "exact"),), path=path)
    return TunedConfigs(folder, lambda _: found or usual, HERE, ("block_m", "num_warps"))


@pytest.mark.parametrize("about", [None, ABOUT, {}], ids=["no side-car", "of this GPU and kernel", "a default"])
def test_an_entry_is_taken(about: dict[str, Any] | None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert configs(tmp_path, about=about).find(CALL) == ENTRY
    assert not warnings(caplog)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"environment": {"gpu": "NVIDIA H100"}}, "was tuned on NVIDIA H100"),
        ({"kernel_fingerprint": "5678"}, "was tuned on another version of the kernel"),
        ({"source": "some-server"}, "was tuned on the kernel of some-server"),
        ({"environment": "H200"}, "does not tell its GPU"),
    ],
)
def test_an_entry_that_was_tuned_elsewhere_is_warned_of_once_and_left(
    change: dict[str, Any], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = configs(tmp_path, about=ABOUT | change)
    assert found.find(CALL) is None
    assert found.find(Call("some", "op", {"m": 17})) is None
    (line,) = warnings(caplog)
    assert (
        line
        == f"lora-autotune: {tmp_path}/file.json: an entry {said}; tune again for it: calls run as without an entry"
    )


@pytest.mark.parametrize("value", [0, -16, None, True, 16.0, "16", [16]])
def test_an_entry_that_is_no_config_is_left(value: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = Lookup("file", {**ENTRY, "block_m": value}, (), path=tmp_path / "file.json")
    assert configs(tmp_path, found).find(CALL) is None
    assert "has no positive block_m" in warnings(caplog)[0]


def test_where_the_server_would_die_defaults_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    failed = Lookup("file", None, (), Failure("KeyError", "m", "16", "has no m 16"), tmp_path / "file.json")
    assert configs(tmp_path, failed).find(CALL) is None
    assert "has no m 16: calls run as without an entry" in warnings(caplog)[0]


def test_where_a_folder_cannot_be_read_defaults_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As where it may be listed and not searched."""

    def refused(call: Call) -> Lookup:
        raise PermissionError(13, "Permission denied", str(tmp_path / "file.json"))

    found = TunedConfigs(tmp_path, refused, HERE, ("block_m",))
    assert [found.find(each) for each in (CALL, Call("some", "op", {"m": 17}))] == [None, None]
    (line,) = warnings(caplog)
    assert f"{tmp_path}: cannot be read (PermissionError: [Errno 13] Permission denied" in line
    assert line.endswith("calls run as without an entry")


def test_a_folder_of_another_gpus_files_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gone = Lookup("default", dict(ENTRY), path=tmp_path / "NVIDIA_H200_OP.json")
    assert configs(tmp_path, gone).find(CALL) is None
    assert "has no NVIDIA_H200_OP.json of this GPU, NVIDIA H200: calls run as without an entry" in warnings(caplog)[0]


def test_a_config_that_does_not_run_is_not_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = configs(tmp_path)
    assert found.find(CALL) == ENTRY
    found.reject(CALL, "OutOfResources: shared memory")
    assert found.find(CALL) is None
    assert "the entry 16 does not run (OutOfResources: shared memory)" in warnings(caplog)[0]


def test_a_malformed_side_car_is_told_and_entries_are_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / provenance.FILE_NAME).write_text("[]")
    assert configs(tmp_path).find(CALL) == ENTRY
    assert "schema_version" in warnings(caplog)[0]


def test_an_entry_that_leaves_the_call_to_the_server_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zeros = Lookup("file", stand_back.entry(ENTRY), (Step("m", 16, "16", "exact"),), path=tmp_path / "file.json")
    config = configs(tmp_path, zeros, ABOUT).find(CALL)
    assert config is not None
    assert stand_back.is_one(config)
    assert not warnings(caplog)


@pytest.mark.parametrize(
    ("problem", "kinds"),
    [
        ({"workload": "prefill"}, {"prefill"}),
        ({"workload": "decode"}, {"decode"}),
        ({"workload": "mixed", "decode_requests": [8, 64]}, {"prefill", "decode"}),
        ({"workload": "mixed", "decode_requests": []}, {"prefill"}),
        ({"workload": ["prefill"]}, {"prefill", "decode"}),
        ({}, {"prefill", "decode"}),
        (None, {"prefill", "decode"}),
    ],
    ids=lambda found: "-".join(sorted(found)) if isinstance(found, set) else str(found),
)
@pytest.mark.parametrize("entry", [ENTRY, stand_back.entry(ENTRY)], ids=["an entry", "zeros"])
def test_an_entry_has_a_say_for_the_kind_of_batches_that_it_was_timed_on(
    entry: dict[str, Any], problem: Any, kinds: set[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lookup = Lookup("file", dict(entry), (Step("m", 16, "16", "exact"),), path=tmp_path / "file.json")
    found = configs(tmp_path, lookup, ABOUT if problem is None else ABOUT | {"problem": problem})
    assert found.find(CALL) == entry, "where the kind does not matter"
    for kind in ("prefill", "decode"):
        assert found.find(CALL, kind) == (entry if kind in kinds else None), kind
    assert not warnings(caplog)


@pytest.mark.parametrize("workload", [None, "prefill", "decode"])
def test_an_entry_without_a_side_car_has_a_say_for_all_batches(workload: str | None, tmp_path: Path) -> None:
    assert configs(tmp_path).find(CALL, workload) == ENTRY


def test_where_nobody_measured_the_kernels_own_default_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = configs(tmp_path, about={})
    side_car = tmp_path / provenance.FILE_NAME
    side_car.write_text(
        side_car.read_text().replace('"own"', '"default-fill"').replace('"study": "s"', '"study": null')
    )
    assert found.find(CALL) is None
    assert not warnings(caplog)
