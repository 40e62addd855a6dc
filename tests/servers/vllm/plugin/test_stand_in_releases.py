"""Our kernels by the real entry of each release of vLLM: ``pytest --served DIR``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.child import run_suite

HERE = Path(__file__).parent


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = metafunc.config.getoption("--served")
    releases = sorted(folder.resolve().glob("vllm-*")) if folder else []
    metafunc.parametrize("release", [pytest.param(each, id=each.name) for each in releases])
    metafunc.parametrize("family", ["dense", "moe"])


def test_ours_by_the_releases_entry(release: Path, family: str, device: str) -> None:
    done = run_suite(device, release, str(HERE / f"test_stand_in_{family}.py"))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "skipped" not in done.stdout
