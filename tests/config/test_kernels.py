"""What files were timed on, against what is installed here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune.config.check import check_folder
from autotune.config.kernels import kernels_of, of_other_kernels
from autotune.environment import installed_version
from autotune.servers import places, provenance
from autotune.servers.provenance import Record
from autotune.servers.vllm.served_modules import DENSE
from tests.builders import served_vllm
from tests.builders.samples import VLLM_ENTRY

SHRINK = "NVIDIA_H200_SHRINK.json"
KEY = ("5", "1", "16", "4096", "16")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Installs a release; returns the hash of its sources."""
    monkeypatch.syspath_prepend(served_vllm.install(tmp_path / "site"))
    return DENSE.origin().source_hash


def write(folder: Path, source_hash: str, triton: str | None, **about: Any) -> Path:
    folder.mkdir()
    content: object = VLLM_ENTRY
    for key in reversed(KEY):
        content = {key: content}
    (folder / SHRINK).write_text(json.dumps(content))
    told = {
        "source": "vllm",
        "kernel": "lora_shrink@vllm-0.33.0",
        "kernel_fingerprint": source_hash,
        "environment": {"torch": "2.14.0", "triton": triton},
        **about,
    }
    record = Record(SHRINK, KEY, "own", "a study", dict(VLLM_ENTRY), provenance=told)
    (folder / provenance.FILE_NAME).write_text(provenance.text([record]))
    return folder


def test_a_file_tells_kernel_release_sources_and_compiler(tmp_path: Path) -> None:
    (timed,) = kernels_of(write(tmp_path / "tuned", "abc", "3.8.0"))[SHRINK]
    assert str(timed) == "vllm kernel (0.33.0, sources abc, Triton 3.8.0)"
    assert timed.to_json() == {
        "source": "vllm",
        "kernel": "lora_shrink@vllm-0.33.0",
        "version": "0.33.0",
        "source_hash": "abc",
        "torch": "2.14.0",
        "triton": "3.8.0",
    }


def test_the_installed_kernel_and_triton_are_held_against_it(tmp_path: Path, installed: str) -> None:
    here = installed_version("triton")
    assert list(of_other_kernels(write(tmp_path / "same", installed, here))) == []
    (found,) = of_other_kernels(write(tmp_path / "older", "another", here))
    assert (found.file, found.effect) == (SHRINK, "slower")
    assert "sources another" in found.message
    assert f"vllm 0.33.0 is installed here, whose kernel has sources {installed}" in found.message
    (found,) = of_other_kernels(write(tmp_path / "triton", installed, "3.8.0"))
    assert f"Triton 3.8.0, and vllm 0.33.0 here runs on Triton {here}" in found.message
    defects = {each.defect for each in check_folder(tmp_path / "triton", "vllm")[0]}
    assert "another kernel" in defects


def test_without_the_server_nothing_is_held_against_it(tmp_path: Path) -> None:
    assert list(of_other_kernels(write(tmp_path / "tuned", "another", "0.1"))) == []


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "about", [{"kernel": 3}, {"kernel": "x@nobody-1"}, {"kernel_fingerprint": None}, {"environment": []}]
)
def test_an_edited_side_car_stops_nothing(tmp_path: Path, about: dict[str, Any]) -> None:
    folder = write(tmp_path / "tuned", "another", "0.1", **about)
    assert len(list(of_other_kernels(folder))) <= 1
    assert kernels_of(folder)[SHRINK][0].source == "vllm"


@pytest.mark.parametrize("broken", [".", places.BUILTIN_FOLDER])
def test_a_broken_side_car_hides_nothing_that_the_other_tells(tmp_path: Path, broken: str) -> None:
    folder = write(tmp_path / "tuned", "abc", "3.8.0")
    write(folder / places.BUILTIN_FOLDER, "abc", "3.8.0", source="builtin", kernel="lora_shrink")
    (folder / broken / provenance.FILE_NAME).write_text("{")
    sound = f"{places.BUILTIN_FOLDER}/{SHRINK}" if broken == "." else SHRINK
    assert list(kernels_of(folder)) == [sound]
