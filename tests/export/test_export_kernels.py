"""Results of the built-in kernels go into a folder of their own, which no server reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autotune.contract import Call, Config
from autotune.contract.source import BUILTIN
from autotune.errors import InputError
from autotune.export.export import export
from autotune.export.file import ExportItem
from autotune.servers import places, provenance
from autotune.servers.vllm import facts, linear
from autotune.servers.vllm.server import VLLM
from tests.builders import exports
from tests.builders.exports import GPU, KEY, SHRINK, entry, shrink, snapshot, table


def of(source: str, m: int = 64, block_m: int = 128) -> ExportItem:
    """Returns a result that was timed on this kernel."""
    item = exports.item(shrink(m), block_m, study=f"{source}-{m}")
    return replace(item, provenance={"source": source}, is_builtin=source == BUILTIN)


def test_a_server_reads_nothing_that_was_timed_on_a_builtin_kernel(tmp_path: Path) -> None:
    export([of("builtin")], tmp_path)
    assert not list(tmp_path.glob("*.json"))
    assert VLLM.lookup(tmp_path, GPU, shrink(64)).origin == "default"
    assert table(tmp_path / "autotune")[KEY] == entry()


def test_one_export_holds_both_at_one_key(tmp_path: Path) -> None:
    report = export([of("builtin", block_m=32), of("vllm", block_m=64)], tmp_path, required=[shrink(256)])
    assert VLLM.lookup(tmp_path, GPU, shrink(64)).config == entry(64)
    assert VLLM.lookup(tmp_path / "autotune", GPU, shrink(64)).config == entry(32)
    for folder in places.folders(tmp_path):
        assert VLLM.lookup(folder, GPU, shrink(256)).config == VLLM.default_config(shrink(256))
    assert places.sources(tmp_path) == {SHRINK: "vllm", f"autotune/{SHRINK}": "builtin"}
    proven = [proof.record.config for proof in report.proofs if proof.record.key == KEY]
    assert proven == [entry(64), entry(32)]
    assert not report.warnings or not any("timed on this project's own kernel" in line for line in report.warnings)


@pytest.mark.parametrize("broken", [".", "autotune"])
def test_nothing_is_written_where_one_place_cannot_take_its_results(tmp_path: Path, broken: str) -> None:
    folder = tmp_path / broken
    folder.mkdir(exist_ok=True)
    (folder / SHRINK).write_text("[]")
    with pytest.raises(InputError, match=SHRINK):
        export([of("builtin"), of("vllm")], tmp_path)
    assert (folder / SHRINK).read_text() == "[]"
    assert not list(tmp_path.rglob(provenance.FILE_NAME))


def older_release(folder: Path, *items: ExportItem) -> None:
    """Writes results of built-in kernels to where a server reads them, as earlier releases did."""
    export([replace(item, is_builtin=False) for item in items], folder)


@pytest.mark.parametrize("source", ["builtin", "vllm"])
def test_what_an_older_release_left_is_told_and_kept(tmp_path: Path, source: str) -> None:
    older_release(tmp_path, of("builtin", 16))
    before = snapshot(tmp_path)[SHRINK]
    report = export([of(source, 64)], tmp_path)
    (warning,) = (line for line in report.warnings if "timed on this project's own kernel" in line)
    # The result and its alias.
    assert f"{SHRINK}: 2 entries" in warning
    assert ("5", "1", "16", "4096", "16") in table(tmp_path)
    assert (snapshot_of_files(tmp_path)[SHRINK] == before) is (source == "builtin")


def snapshot_of_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


def test_results_of_the_servers_kernel_replace_what_an_older_release_left(tmp_path: Path) -> None:
    older_release(tmp_path, of("builtin"))
    assert places.misplaced(tmp_path) == {SHRINK: 2}
    report = export([of("vllm", block_m=64)], tmp_path)
    assert places.misplaced(tmp_path) == {}
    assert not any("timed on this project's own kernel" in line for line in report.warnings)


def test_an_edited_entry_is_no_result_of_ours(tmp_path: Path) -> None:
    older_release(tmp_path, of("builtin"))
    exports.put(tmp_path, {KEY: {**entry(), "block_m": 16}})
    assert places.misplaced(tmp_path) == {}


def test_what_an_older_release_dropped_is_not_put_back(tmp_path: Path) -> None:
    dropped = {"kind": "own", "taken": ["x"], "config": entry()}
    record = provenance.Record(SHRINK, KEY, "dropped", "s", entry(16), None, {"source": "builtin", "dropped": dropped})
    assert places.usable([record], is_builtin=False) == []
    assert places.usable([record], is_builtin=True) == [record]


def test_an_output_folder_may_have_the_name_of_the_builtin_one(tmp_path: Path) -> None:
    folder = tmp_path / "autotune"
    export([of("builtin", block_m=32), of("vllm", block_m=64)], folder)
    assert table(folder)[KEY] == entry(64)
    assert table(folder / "autotune")[KEY] == entry(32)
    assert places.misplaced(folder / "autotune") == {}


def test_pairs_that_won_and_lost_are_found_where_the_plug_in_looks(tmp_path: Path) -> None:
    sizes = {"max_loras": 5, "num_slices": 3, "k": 4096, "rank": 16, "n": 4096}
    pair = dict.fromkeys(facts.LINEAR_KEYS, 16) | {"block_k": 256, "num_warps": 4, "num_stages": 2, "launches": 2}
    calls = [Call("vllm", "linear", {**sizes, "m": m}) for m in (1, 16, 64)]
    configs: list[Config] = [pair, linear.APART, pair]
    items = [
        ExportItem(f"s{m}", call, config, config == linear.APART, GPU, {"source": "builtin"}, is_builtin=True)
        for m, (call, config) in enumerate(zip(calls, configs, strict=True))
    ]
    report = export(items, tmp_path)
    assert not list(tmp_path.glob("*.json"))
    assert [VLLM.lookup(tmp_path / "autotune", GPU, call).config for call in calls] == configs
    assert not any("num_slices" in line for line in report.warnings)


def test_nothing_is_written_where_the_report_could_not_read_the_side_car(tmp_path: Path) -> None:
    (tmp_path / provenance.FILE_NAME).write_text("{")
    with pytest.raises(InputError, match=rf"{provenance.FILE_NAME}.*repair or move it"):
        export([of("builtin")], tmp_path)
    assert not list((tmp_path / places.BUILTIN_FOLDER).glob("*.json"))
