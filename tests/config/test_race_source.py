"""Whose kernel the sides of a difference are timed on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.config.diff import differences
from autotune.config.entry_problem import Assumptions
from autotune.config.race import Bench, RacedDifference, race
from autotune.contract import registry
from autotune.contract.gpu import H200
from autotune.servers import provenance
from autotune.servers.provenance import Record
from tests.builders import served_vllm
from tests.builders.samples import VLLM_ENTRY

SHRINK = "NVIDIA_H200_SHRINK.json"
KEY = ("5", "1", "16", "4096", "16")


@pytest.fixture(autouse=True)
def forget() -> None:
    """What was installed is asked anew."""
    registry._served.cache_clear()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(served_vllm.install(tmp_path / "site"))


def write(folder: Path, warps: int, source: str = "") -> Path:
    """Writes a file of one entry, and of whose kernel it is where that is told."""
    folder.mkdir(parents=True)
    entry = {**VLLM_ENTRY, "num_warps": warps}
    content: object = entry
    for key in reversed(KEY):
        content = {key: content}
    (folder / SHRINK).write_text(json.dumps(content))
    if source:
        record = Record(SHRINK, KEY, "own", "a study", entry, provenance={"source": source})
        (folder / provenance.FILE_NAME).write_text(provenance.text([record]))
    return folder


def raced(a: Path, b: Path, assumptions: Assumptions) -> RacedDifference:
    """Both sides come to one launch, so that nothing is timed."""
    bench = Bench(H200, lambda subject: pytest.fail("timed"), rounds=1)
    (found,) = race(differences(a, b), (a, b), assumptions, bench)
    return found


def kernel(found: RacedDifference) -> str:
    assert found.subject is not None, found.note
    return found.subject.kernel


def alike(folder: Path, source: str = "") -> tuple[Path, Path]:
    """Returns two folders whose entries differ in what no kernel takes."""
    a, b = write(folder / "a" / "autotune", 4, source), write(folder / "b" / "autotune", 4, source)
    (b / SHRINK).write_text((b / SHRINK).read_text().replace('"max_nreg": null', '"max_nreg": 64'))
    return a, b


@pytest.mark.usefixtures("installed")
def test_the_installed_servers_kernel_is_timed(tmp_path: Path) -> None:
    a, b = alike(tmp_path)
    for source in ("auto", "served"):
        assert (
            kernel(raced(a, b, Assumptions({}, source=source, allow_unknown_server=True))) == "lora_shrink@vllm-0.33.0"
        )
    assert kernel(raced(a, b, Assumptions({}, source="builtin"))) == "lora_shrink"


@pytest.mark.usefixtures("installed")
def test_files_of_the_built_in_kernels_are_measured_on_those(tmp_path: Path) -> None:
    a, b = alike(tmp_path, "builtin")
    assert kernel(raced(a, b, Assumptions({}, allow_unknown_server=True))) == "lora_shrink"


@pytest.mark.usefixtures("installed")
def test_an_unknown_release_is_told_of_each_entry(tmp_path: Path) -> None:
    found = raced(*alike(tmp_path), Assumptions({}))
    assert found.subject is None
    assert "--allow-unknown-server" in found.note


def test_a_server_that_is_not_installed_is_told(tmp_path: Path) -> None:
    assert "vllm is not installed here" in raced(*alike(tmp_path), Assumptions({}, source="served")).note
