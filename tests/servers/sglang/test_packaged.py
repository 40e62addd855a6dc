"""What SGLang's own package brings is what its server has without a config folder, and what one must not hide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune.contract import AnyKernel, Call, registry
from autotune.contract.gpu import H200
from autotune.contract.space import Space
from autotune.export.export import export
from autotune.export.file import ExportItem
from autotune.servers import provenance
from autotune.servers.sglang import facts, packaged
from autotune.servers.sglang.server import SGLANG
from tests.builders import served_sglang

SHRINK = {"BLOCK_N": 32, "BLOCK_K": 128, "num_warps": 8, "num_stages": 2}
BROUGHT = {"16": SHRINK, "128": {"BLOCK_N": 64, "BLOCK_K": 64}}
FLAGS = {"hidden_size": 1024, "lora_rank": 64, "num_slices": 3, "num_loras": 1, "dtype": "float16", "chunk_size": 16}
CALL = Call("sglang", "shrink", {"K": 1024, "R": 64, "S": 3, "chunk_size": 16}, triton="3.6.0")
NAME = "lora_shrink,K=1024,R=64,S=3,device=NVIDIA_H200.json"


@pytest.fixture(params=list(served_sglang.FOLDERS))
def configs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Installs a release that brings one file; returns the folder of all its files."""
    site = served_sglang.install(tmp_path / "site", request.param)
    monkeypatch.syspath_prepend(site)
    registry._served.cache_clear()
    folder = site.joinpath(*served_sglang.FOLDERS[request.param].split(".")) / facts.ROOT
    write(folder, "triton_3_5_1", BROUGHT)
    yield folder
    registry._served.cache_clear()


def write(folder: Path, version: str, content: Any, name: str = NAME) -> None:
    (folder / version).mkdir(parents=True, exist_ok=True)
    (folder / version / name).write_text(json.dumps(content))


def shrink() -> AnyKernel:
    return registry.load("csgmv_shrink@sglang")


def default(gpu: str = "NVIDIA H200", **flags: int) -> dict[str, Any]:
    kernel = shrink()
    return dict(kernel.default_config(kernel.problem_from_flags({**FLAGS, **flags}), replace(H200, name=gpu)))


@pytest.mark.usefixtures("configs")
def test_the_default_of_a_study_is_the_packages_own_entry() -> None:
    assert default() == SHRINK
    kernel = shrink()
    problem = kernel.problem_from_flags(FLAGS)
    space = Space.build(kernel, problem, H200, kernel.spaces[0])
    assert space.incumbent == SHRINK
    (other,) = kernel.other_defaults(problem, H200)
    assert other.items() >= facts.DEFAULTS["shrink"].items()
    assert space.has(other)
    assert default(chunk_size=128) == {"BLOCK_N": 64, "BLOCK_K": 64, "num_warps": None, "num_stages": None}


@pytest.mark.usefixtures("configs")
def test_other_shapes_and_gpus_have_the_built_in_default() -> None:
    for found in (default("NVIDIA H100"), default(hidden_size=2048), default(num_slices=1), default(lora_rank=32)):
        assert found.items() >= facts.DEFAULTS["shrink"].items()
    kernel = shrink()
    assert kernel.other_defaults(kernel.problem_from_flags({**FLAGS, "hidden_size": 2048}), H200) == ()
    ours = registry.load("csgmv_shrink")
    assert ours.default_config(ours.problem_from_flags(FLAGS), H200).items() >= facts.DEFAULTS["shrink"].items()


def test_the_file_is_the_one_that_the_server_would_take(configs: Path) -> None:
    write(configs, "triton_3_10_0", {"16": {"BLOCK_N": 16, "BLOCK_K": 64}})
    assert packaged.packaged_config(CALL, "NVIDIA H200") == SHRINK  # 3_5_1 before 3_10_0: names are text
    write(configs, "triton_3_6_0", {"16": {"BLOCK_N": 64, "BLOCK_K": 32}})
    assert packaged.packaged_config(CALL, "NVIDIA H200") == {"BLOCK_N": 64, "BLOCK_K": 32}


def item(is_builtin: bool) -> ExportItem:
    about = {"source": "builtin" if is_builtin else "sglang"}
    return ExportItem("s", CALL, {"BLOCK_N": 16, "BLOCK_K": 64}, False, "NVIDIA H200", about, is_builtin=is_builtin)


@pytest.mark.parametrize("is_builtin", [False, True])
def test_an_export_fills_its_files_with_what_it_hides(configs: Path, tmp_path: Path, is_builtin: bool) -> None:
    write(configs, "triton_3_5_1", BROUGHT, NAME.replace("K=1024", "K=2048"))
    folder = tmp_path / "tuned"
    report = export([item(is_builtin)], folder)
    filled = {record.key: record.config for record in report.records if record.kind == "default-fill"}
    hidden = {("32",): SHRINK, ("64",): SHRINK, ("128",): BROUGHT["128"]}
    assert filled == (dict.fromkeys(hidden, facts.DEFAULTS["shrink"]) if is_builtin else hidden)
    assert provenance.FILE_NAME in {file.name for file in report.files}
    # The variable is never set to the folder that the plug-in alone reads.
    told = [line for line in report.warnings if facts.CONFIG_FOLDER in line]
    assert len(told) == (0 if is_builtin else 1)
    assert all(f"no file here answers {NAME.replace('K=1024', 'K=2048')}" in line for line in told)


@pytest.mark.parametrize(("rank", "told"), [(64, True), (32, False)])
def test_of_a_planned_server_what_is_of_other_ranks_is_not_told(
    configs: Path, tmp_path: Path, rank: int, told: bool
) -> None:
    write(configs, "triton_3_5_1", BROUGHT, NAME.replace("K=1024", "K=2048").replace("R=64", f"R={rank}"))
    report = export([item(is_builtin=False)], tmp_path / "tuned", required=[CALL])
    assert any("K=2048" in line for line in report.warnings) == told
    assert any("no longer sees" in line for line in report.warnings) == told


def test_without_the_server_its_built_in_default_is_all_that_is_known() -> None:
    assert packaged.folder() is None
    assert SGLANG.no_folder_config(CALL, "NVIDIA H200") == facts.DEFAULTS["shrink"]
    assert packaged.hidden(Path(), "NVIDIA H200") == []
