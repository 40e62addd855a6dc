"""The four files of fused MoE LoRA are written together, with one m grid and one block_m at each m, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune.errors import InputError
from autotune.export import ExportItem, export
from autotune.kernel import Call
from autotune.runtimes import files, vllm, vllm_moe

GPU = "NVIDIA H200"
Place = tuple[int, ...]
PLACE: Place = (4, 64, 16, 2048, 768)


def item(op: str, place: Place = PLACE, block_m: int = 32, incumbent: bool = False) -> ExportItem:
    max_loras, *rest = place
    slices = 2 if "w13" in op else 1
    call = Call("vllm", op, dict(zip(vllm_moe.LEVELS, (max_loras, slices, *rest), strict=True)))
    config = {**vllm.default_config(call), "block_m": block_m, "num_warps": 8}
    return ExportItem(f"{op}-{place}", call, config, incumbent, GPU, {})


def four(place: Place = PLACE, block_m: int = 32) -> list[ExportItem]:
    return [item(op, place, block_m) for op in vllm_moe.OPS]


def path(folder: Path, op: str) -> Path:
    return folder / vllm_moe.file_name("NVIDIA_H200", op)


def blocks(folder: Path, op: str) -> dict[str, Any]:
    """block_m by ``L/m/k/n/i``."""
    table = files.read_table(path(folder, op), vllm_moe.LEVELS)
    return {"/".join((key[0], *key[2:])): config["block_m"] for key, config in table.items()}


def all_blocks(folder: Path) -> dict[str, Any]:
    """The same of all four files, which must agree."""
    found = [blocks(folder, op) for op in vllm_moe.OPS]
    assert all(each == found[0] for each in found)
    return found[0]


def test_all_four_are_written_and_proven(tmp_path: Path) -> None:
    report = export(four(), tmp_path)
    assert {file.name for file in report.files} >= {path(tmp_path, op).name for op in vllm_moe.OPS}
    assert all(proof.lookup.exact for proof in report.proofs)
    assert all_blocks(tmp_path) == {"4/64/16/2048/768": 32}
    assert not report.warnings


@pytest.mark.parametrize("left_out", vllm_moe.OPS)
def test_three_of_four_are_refused(tmp_path: Path, left_out: str) -> None:
    with pytest.raises(InputError, match=f"none of {left_out}"):
        export([each for each in four() if each.call.op != left_out], tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("odd", vllm_moe.OPS)
def test_another_block_m_is_refused(tmp_path: Path, odd: str) -> None:
    items = [item(op, block_m=16 if op == odd else 32) for op in vllm_moe.OPS]
    with pytest.raises(InputError, match="block_m is"):
        export(items, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_default_among_tuned_ones_is_refused(tmp_path: Path) -> None:
    items = [item(op, incumbent=op == vllm_moe.OPS[3]) for op in vllm_moe.OPS]
    with pytest.raises(InputError, match=r"block_m is 32 .* but 64"):
        export(items, tmp_path)


def test_another_m_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no result for max_loras 4, m 16"):
        export([*four(), item(vllm_moe.OPS[0], (4, 16, *PLACE[2:]))], tmp_path)
    assert not list(tmp_path.iterdir())


def test_merging_keeps_one_grid_and_one_block_m(tmp_path: Path) -> None:
    export(four(), tmp_path)
    export(four((4, 512, 64, 4096, 1536), 128), tmp_path)
    assert all_blocks(tmp_path) == {
        "4/64/16/2048/768": 32,
        "4/512/64/4096/1536": 128,
        "4/64/64/4096/1536": 64,
        "4/512/16/2048/768": 64,
    }


def test_a_lone_file_that_was_there_gets_its_partners(tmp_path: Path) -> None:
    key = ("4", "2", "8", "16", "2048", "768")
    path(tmp_path, vllm_moe.OPS[0]).write_text(files.table_text({key: {"BLOCK_SIZE_M": 16}}))
    export(four(), tmp_path)
    assert blocks(tmp_path, vllm_moe.OPS[2]) == {"4/64/16/2048/768": 32, "4/8/16/2048/768": 16}


def test_files_that_contradict_each_other_are_not_merged_into(tmp_path: Path) -> None:
    for op, block_m in zip(vllm_moe.OPS, (16, 16, 64, 64), strict=True):
        key = ("4", "2" if "w13" in op else "1", "8", "16", "2048", "768")
        path(tmp_path, op).write_text(files.table_text({key: {"block_m": block_m}}))
    before = {file.name: file.read_bytes() for file in tmp_path.glob("NVIDIA*")}
    with pytest.raises(InputError, match=r"m 8, .*block_m is 16 in .* but 64 in"):
        export(four(), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.glob("NVIDIA*")} == before
    export(four(), tmp_path, "overwrite")
    assert all_blocks(tmp_path) == {"4/64/16/2048/768": 32}


def test_new_files_never_stand_beside_old_ones_that_a_server_reads(tmp_path: Path) -> None:
    path(tmp_path, vllm_moe.OPS[0]).write_text("{}")
    report = export(four(), tmp_path, "new")
    written = [file.name for file in report.files if "FUSED" in file.name]
    assert len(written) == 4
    assert all(name.endswith("_tuned_1.json") for name in written)
