"""The four files of fused MoE LoRA are written together, with one m grid and one block_m at each m, or not at all."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from autotune.config.check import check_folder
from autotune.contract import Call
from autotune.errors import InputError
from autotune.export.export import check_merge, export
from autotune.export.file import ExportItem
from autotune.servers import files
from autotune.servers.vllm import facts, moe
from autotune.servers.vllm.server import VLLM
from tests.builders import exports as dense
from tests.builders.exports import ALIAS, GPU, KEY, SHRINK, of_kind

Place = tuple[int, ...]
PLACE: Place = (4, 64, 16, 2048, 768)


def item(op: str, place: Place = PLACE, block_m: int = 32, incumbent: bool = False) -> ExportItem:
    max_loras, *rest = place
    slices = 2 if "w13" in op else 1
    call = Call("vllm", op, dict(zip(facts.MOE_LEVELS, (max_loras, slices, *rest), strict=True)))
    config = {**VLLM.default_config(call), "block_m": block_m, "num_warps": 8}
    return ExportItem(f"{op}-{place}", call, config, incumbent, GPU, {})


def four(place: Place = PLACE, block_m: int = 32) -> list[ExportItem]:
    return [item(op, place, block_m) for op in facts.MOE_OPS]


def path(folder: Path, op: str) -> Path:
    return folder / moe.file_name("NVIDIA_H200", op)


def blocks(folder: Path, op: str) -> dict[str, Any]:
    """block_m by ``L/m/k/n/i``."""
    table = files.read_table(path(folder, op), facts.MOE_LEVELS)
    return {"/".join((key[0], *key[2:])): config["block_m"] for key, config in table.items()}


def all_blocks(folder: Path) -> dict[str, Any]:
    """The same of all four files, which must agree."""
    found = [blocks(folder, op) for op in facts.MOE_OPS]
    assert all(each == found[0] for each in found)
    return found[0]


def test_all_four_are_written_and_proven(tmp_path: Path) -> None:
    report = export(four(), tmp_path)
    assert {file.name for file in report.files} >= {path(tmp_path, op).name for op in facts.MOE_OPS}
    assert all(proof.lookup.exact for proof in report.proofs)
    assert all_blocks(tmp_path) == {"4/64/16/2048/768": 32}
    assert not report.warnings


@pytest.mark.parametrize("left_out", facts.MOE_OPS)
def test_three_of_four_are_refused(tmp_path: Path, left_out: str) -> None:
    with pytest.raises(InputError, match=f"none of {left_out}"):
        export([each for each in four() if each.call.op != left_out], tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("odd", facts.MOE_OPS)
def test_another_block_m_is_refused(tmp_path: Path, odd: str) -> None:
    items = [item(op, block_m=16 if op == odd else 32) for op in facts.MOE_OPS]
    with pytest.raises(InputError, match="block_m is"):
        export(items, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_default_among_tuned_ones_is_refused(tmp_path: Path) -> None:
    items = [item(op, incumbent=op == facts.MOE_OPS[3]) for op in facts.MOE_OPS]
    with pytest.raises(InputError, match=r"block_m is 32 .* but 64"):
        export(items, tmp_path)


def test_another_m_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no result for max_loras 4, m 16"):
        export([*four(), item(facts.MOE_OPS[0], (4, 16, *PLACE[2:]))], tmp_path)
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


@pytest.mark.parametrize("there", [False, True])
def test_what_a_server_also_looks_up_is_the_default_in_all_four(tmp_path: Path, there: bool) -> None:
    other = (4, 512, 64, 4096, 1536)
    if there:
        export(four(other, 128), tmp_path)
    required = [item(op, (4, m, *PLACE[2:])).call for op in facts.MOE_OPS for m in (1, 64, 8192)]
    export(four(), tmp_path, required=required)
    found = all_blocks(tmp_path)
    assert {place: block_m for place, block_m in found.items() if place.endswith("/768")} == {
        "4/1/16/2048/768": 64,
        "4/64/16/2048/768": 32,
        "4/8192/16/2048/768": 64,
    } | ({"4/512/16/2048/768": 64} if there else {})
    assert ("4/8192/64/4096/1536" in found) == there


def test_a_lone_file_that_was_there_gets_its_partners(tmp_path: Path) -> None:
    key = ("4", "2", "8", "16", "2048", "768")
    path(tmp_path, facts.MOE_OPS[0]).write_text(files.table_text({key: {"BLOCK_SIZE_M": 16}}))
    export(four(), tmp_path)
    assert blocks(tmp_path, facts.MOE_OPS[2]) == {"4/64/16/2048/768": 32, "4/8/16/2048/768": 16}


def test_files_that_contradict_each_other_are_not_merged_into(tmp_path: Path) -> None:
    for op, block_m in zip(facts.MOE_OPS, (16, 16, 64, 64), strict=True):
        key = ("4", "2" if "w13" in op else "1", "8", "16", "2048", "768")
        path(tmp_path, op).write_text(files.table_text({key: {"block_m": block_m}}))
    before = {file.name: file.read_bytes() for file in tmp_path.glob("NVIDIA*")}
    with pytest.raises(InputError, match=r"m 8, .*block_m is 16 in .* but 64 in"):
        export(four(), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.glob("NVIDIA*")} == before
    export(four(), tmp_path, "overwrite")
    assert all_blocks(tmp_path) == {"4/64/16/2048/768": 32}


def test_new_leaves_the_old_file_alone(tmp_path: Path) -> None:
    dense.put(tmp_path, {KEY: dense.entry(16)})
    before = (tmp_path / SHRINK).read_bytes()
    for index in (1, 2):
        report = export([dense.item()], tmp_path, "new")
        assert report.files[0].name == f"NVIDIA_H200_SHRINK_tuned_{index}.json"
        assert dense.table(tmp_path, report.files[0].name) == {KEY: dense.entry(), ALIAS: dense.entry()}
        assert any("no server reads this name" in warning for warning in report.warnings)
    assert (tmp_path / SHRINK).read_bytes() == before


def test_new_takes_the_servers_name_if_it_is_free(tmp_path: Path) -> None:
    assert export([dense.item()], tmp_path, "new").files[0] == tmp_path / SHRINK


def test_new_files_never_stand_beside_old_ones_that_a_server_reads(tmp_path: Path) -> None:
    path(tmp_path, facts.MOE_OPS[0]).write_text("{}")
    report = export(four(), tmp_path, "new")
    written = [file.name for file in report.files if "FUSED" in file.name]
    assert len(written) == 4
    assert all(name.endswith("_tuned_1.json") for name in written)


def sharded(rank: int, tp: int, m: int = 64, block_m: int = 32) -> list[ExportItem]:
    """Returns the results of a server over so many GPUs: it looks up w13 by a part of the rank, and w2 by all of it."""

    def place(op: str) -> Place:
        return (4, m, rank // tp if "w13" in op else rank, 2048, 768)

    return [replace(item(op, place(op), block_m), shards=tp) for op in facts.MOE_OPS]


class TestFullySharded:
    """Servers over t GPUs look up w13 by rank / t and w2 by the rank."""

    def blocks(self, folder: Path, m: int = 64) -> dict[str, int]:
        """block_m by rank, alike in all files."""
        at_m = {key: block_m for key, block_m in all_blocks(folder).items() if key.startswith(f"4/{m}/")}
        return {key.split("/")[2]: block_m for key, block_m in at_m.items()}

    def test_both_ranks_have_one_block_m_in_all_files(self, tmp_path: Path) -> None:
        report = export(sharded(32, 2), tmp_path)
        assert self.blocks(tmp_path) == {"16": 32, "32": 32}
        own = {(record.file.partition("LORA_")[2], record.key[3]) for record in of_kind(report, "own")}
        assert {(file.partition("_")[0], rank) for file, rank in own} == {("W13", "16"), ("W2", "32")}
        assert len(of_kind(report, "default-fill")) == 4
        assert all(proof.lookup.exact for proof in report.proofs)
        assert check_folder(tmp_path, "vllm") == ([], 4)

    @pytest.mark.parametrize("odd", facts.MOE_OPS)
    def test_another_block_m_or_another_rank_is_refused(self, tmp_path: Path, odd: str) -> None:
        mixed = [b if a.call.op == odd else a for a, b in zip(sharded(32, 2), sharded(32, 2, 64, 16), strict=True)]
        with pytest.raises(InputError, match=r"k 16\+32, .*block_m is"):
            export(mixed, tmp_path)
        others = [b if a.call.op == odd else a for a, b in zip(sharded(32, 2), sharded(64, 2), strict=True)]
        with pytest.raises(InputError, match="has no result for max_loras 4, m 64, k "):
            export(others, tmp_path)
        with pytest.raises(InputError, match="has no result for"):
            export([replace(each, shards=1) for each in sharded(32, 2)], tmp_path)
        assert not list(tmp_path.iterdir())

    def test_tuned_again_it_takes_its_fills_along(self, tmp_path: Path) -> None:
        export(sharded(32, 2), tmp_path)
        export(sharded(64, 2, 512, 16), tmp_path)
        assert self.blocks(tmp_path, 512) == {"16": 16, "32": 16, "64": 16}
        export(sharded(32, 2, 64, 128), tmp_path)
        assert self.blocks(tmp_path) == {"16": 128, "32": 128, "64": 128}

    def test_ranks_of_other_servers_stay_apart(self, tmp_path: Path) -> None:
        export(sharded(128, 2, block_m=128), tmp_path)
        export(sharded(32, 2), tmp_path)
        export(four((4, 64, 8, 2048, 768), 16), tmp_path)
        assert self.blocks(tmp_path) == {"8": 16, "16": 32, "32": 32, "64": 128, "128": 128}
        assert check_folder(tmp_path, "vllm") == ([], 4)

    def test_an_entry_that_two_servers_read_cannot_have_two_values(self, tmp_path: Path) -> None:
        """w13's entry of rank 16 is also that of a server of rank 16 on each GPU, whose w2 would be left behind."""
        export(sharded(32, 2), tmp_path)
        before = {file.name: file.read_bytes() for file in tmp_path.glob("NVIDIA*")}
        with pytest.raises(InputError, match=r"k 16\+32, .*block_m is 128 in .* but 32 in .*folder of its own"):
            export(four((4, 64, 16, 2048, 768), 128), tmp_path)
        with pytest.raises(InputError, match=r"k 16\+32\+64, .*block_m is"):
            export(sharded(64, 2, block_m=128), tmp_path)
        assert {file.name: file.read_bytes() for file in tmp_path.glob("NVIDIA*")} == before
        export(four((4, 512, 16, 2048, 768), 128), tmp_path)
        assert self.blocks(tmp_path, 512) == {"16": 128, "32": 128}
        assert self.blocks(tmp_path) == {"16": 32, "32": 32}

    def test_who_reads_an_entry_is_not_forgotten_with_its_result(self, tmp_path: Path) -> None:
        export(sharded(32, 2), tmp_path)
        export(four((4, 64, 16, 2048, 768), 32), tmp_path)
        export(four((4, 64, 32, 2048, 768), 32), tmp_path)
        with pytest.raises(InputError, match=r"k 16\+32, .*block_m is"):
            export(four((4, 64, 16, 2048, 768), 128), tmp_path)
        export(four((4, 64, 16, 2048, 768), 128), tmp_path, "overwrite")
        assert self.blocks(tmp_path) == {"16": 128}

    def test_what_stood_there_cannot_be_joined(self, tmp_path: Path) -> None:
        export(four((4, 512, 16, 2048, 768), 16), tmp_path)
        export(four((4, 512, 32, 2048, 768), 128), tmp_path)
        with pytest.raises(InputError, match=r"m 512, k 16\+32, .*block_m is 16"):
            export(sharded(32, 2), tmp_path)
        wanted = [(each.call, GPU, 2) for each in sharded(32, 2)]
        with pytest.raises(InputError, match=r"m 512, k 16\+32, .*block_m is 16"):
            check_merge(wanted, tmp_path)
        check_merge([(call, gpu, 1) for call, gpu, _ in wanted], tmp_path)

    def test_a_check_ahead_forgets_no_server_that_reads_an_entry(self, tmp_path: Path) -> None:
        """Rank 32 over 2 GPUs joins 16 and 32, so a server of rank 64 over 4 GPUs joins 16, 32 and 64."""
        export(sharded(32, 2), tmp_path)
        export(four((4, 64, 32, 2048, 768), 32), tmp_path)
        export(four((4, 64, 64, 2048, 768), 128), tmp_path)
        again = [(each.call, GPU, 1) for each in sharded(32, 1) if "w2" in each.call.op]
        with pytest.raises(InputError, match=r"m 64, k 16\+32\+64, .*block_m is"):
            check_merge([*((each.call, GPU, 4) for each in sharded(64, 4)), *again], tmp_path)


SERVERS = st.tuples(st.sampled_from([4, 64, 512]), st.sampled_from([8, 16, 32]), st.sampled_from([1, 2, 4]))


@settings(max_examples=25)
@given(st.lists(st.tuples(SERVERS, st.sampled_from([16, 32, 64, 128])), min_size=1, max_size=5), st.data())
def test_no_server_gets_two_values(
    tmp_path_factory: pytest.TempPathFactory, exports: list[tuple[Place, int]], data: st.DataObject
) -> None:
    """One export after the other is refused, or leaves every server so far with one block_m, at any m."""
    folder = tmp_path_factory.mktemp("tuned")
    done: set[tuple[int, int]] = set()
    for (m, rank, tp), block_m in exports:
        with suppress(InputError):
            export(sharded(rank, tp, m, block_m), folder)
            done.add((rank, tp))
    lookups = {op: dense.served(folder, moe.file_name("NVIDIA_H200", op)) for op in facts.MOE_OPS}
    for rank, tp in done:
        calls = [each.call for each in sharded(rank, tp)]
        for m in (4, 64, 512, data.draw(st.integers(1, 600))):
            found = [lookups[call.op](replace(call, dims={**call.dims, "m": m})).config for call in calls]
            assert len({config["block_m"] for config in found if config}) == 1
    assert check_folder(folder, "vllm")[0] == []
    assert done
