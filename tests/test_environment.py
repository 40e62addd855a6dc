"""How many cores count is what this process may use, not what the machine has; and which driver is loaded."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from autotune import environment
from autotune.measure import machine

PACKAGE = Path(__file__).parents[1] / "autotune"


@pytest.fixture
def limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that tells a container's limits, on a machine of 64 cores that lets this process run on 12."""
    monkeypatch.setattr(environment, "_CGROUPS", tmp_path)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)))
    return tmp_path


def test_cores_that_it_may_not_run_on_do_not_count(limits: Path) -> None:
    assert environment.usable_cores() == 12


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("400000 100000", 4),
        ("250000 100000", 3),
        ("50000 100000", 1),
        ("6400000 100000", 12),
        ("max 100000", 12),
        ("", 12),
    ],
)
def test_a_containers_share_of_time(limits: Path, text: str, cores: int) -> None:
    (limits / "cpu.max").write_text(text)
    assert environment.usable_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("400000", 4), ("150000", 2), ("-1", 12)])
def test_a_containers_share_of_time_in_older_releases(limits: Path, quota: str, cores: int) -> None:
    (limits / "cpu").mkdir()
    (limits / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (limits / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert environment.usable_cores() == cores


def test_a_machine_compiles_on_all_of_them_but_one(
    limits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    def opened(folder: str, compilers: int) -> None:
        raise Stop(compilers)

    monkeypatch.setattr(machine, "CompilePool", opened)
    monkeypatch.setattr(machine, "gpu_uuid", lambda: None)
    with pytest.raises(Stop, match=r"^11$"):
        machine.Machine(tmp_path / "triton")


def test_nothing_counts_the_cores_of_the_whole_machine() -> None:
    counting = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute | ast.Name | ast.alias)
        and "cpu_count" in (getattr(node, "attr", ""), getattr(node, "id", ""), getattr(node, "name", ""))
    }
    assert not counting


def test_the_drivers_version_is_the_loaded_modules_or_else_what_nvidia_smi_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 580.1\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(environment, "_MODULE", tmp_path / "version")
    environment._ask_driver.cache_clear()
    try:
        assert environment.driver_version() == "580.1"
        (tmp_path / "version").write_text("580.2\n")
        assert environment.driver_version() == "580.2"
    finally:
        environment._ask_driver.cache_clear()
