"""An export from results to proven files: what is written, what is said, and what a crash leaves."""

from __future__ import annotations

import json
from pathlib import Path

import filelock
import pytest

from autotune.errors import AutotuneError, InputError
from autotune.export.export import export
from autotune.export.file import ExportItem
from autotune.servers import KeyPath, files, provenance
from autotune.servers.vllm.server import VLLM
from tests.builders.exports import (
    ALIAS,
    EXPAND,
    GPU,
    KEY,
    SHRINK,
    Killed,
    at,
    die_after,
    entry,
    expand,
    item,
    of_kind,
    put,
    snapshot,
    table,
)


def test_writes_own_key_and_alias_and_proves_both(tmp_path: Path) -> None:
    report = export([item()], tmp_path)
    assert table(tmp_path) == {ALIAS: entry(), KEY: entry()}
    assert set(snapshot(tmp_path)) == {SHRINK, provenance.FILE_NAME}
    assert report.files == (tmp_path / SHRINK, tmp_path / provenance.FILE_NAME)
    assert [record.key for record in of_kind(report, "own")] == [KEY]
    assert [record.key for record in of_kind(report, "alias")] == [ALIAS]
    assert [proof.lookup.path for proof in report.proofs] == [tmp_path / SHRINK] * 2
    assert all(proof.lookup.exact for proof in report.proofs)


def test_round_trip_through_the_servers_lookup(tmp_path: Path) -> None:
    keys = [(loras, s, m, "4096", "16") for loras in ("5", "9") for s in ("1", "2", "3") for m in ("8", "64", "1024")]
    items = [item(at(*key), block_m=16 * index, study=str(index)) for index, key in enumerate(keys, start=1)]
    export([*items, item(expand(), 64)], tmp_path)
    for each in [*items, item(expand(), 64)]:
        found = VLLM.lookup(tmp_path, GPU, each.call)
        assert found.exact
        assert found.config == VLLM.entry(each.config, each.call)


def test_side_car_tells_where_entries_come_from(tmp_path: Path) -> None:
    export([item(study="mine")], tmp_path)
    content = json.loads((tmp_path / provenance.FILE_NAME).read_text())
    assert content["schema_version"] == 1
    assert [(e["file"], tuple(e["key"]), e["kind"], e["study"], e["provenance"]) for e in content["entries"]] == [
        (SHRINK, ALIAS, "alias", "mine", {"backend": "replay"}),
        (SHRINK, KEY, "own", "mine", {"backend": "replay"}),
    ]
    assert content["entries"][1]["config"] == entry()


def test_an_incumbent_is_written_as_the_runtimes_default(tmp_path: Path) -> None:
    export([item(incumbent=True), item(expand(), incumbent=True)], tmp_path)
    assert table(tmp_path)[KEY] == VLLM.default_config(at())
    assert list(table(tmp_path, EXPAND).values()) == [VLLM.default_config(expand())] * 2


def test_exported_text_has_ascending_integer_keys_and_nine_config_keys(tmp_path: Path) -> None:
    export([item(at("5", "1", m, "4096", "16"), study=m) for m in ("1024", "8", "64")], tmp_path)
    content = json.loads((tmp_path / SHRINK).read_text())
    assert list(content) == ["4", "5"]
    assert list(content["5"]["1"]) == ["8", "64", "1024"]
    leaf = content["5"]["1"]["8"]["4096"]["16"]
    assert len(leaf) == 9
    assert leaf["max_nreg"] is None


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_refuses_what_is_no_folder(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written to"):
        export([item()], tmp_path / folder)
    assert snapshot(tmp_path) == {"file": b"x"}


def test_creates_the_folder(tmp_path: Path) -> None:
    export([item()], tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / SHRINK).exists()


def test_refuses_an_unknown_mode(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="on_exist: got 'append', allowed: merge, overwrite, new"):
        export([item()], tmp_path, "append")  # type: ignore[arg-type]


def test_refuses_a_folder_that_another_export_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOCK_TIMEOUT_S", 0)
    with (
        filelock.FileLock(tmp_path / files.LOCK_NAME),
        pytest.raises(AutotuneError, match="another export holds"),
    ):
        export([item()], tmp_path)
    assert not snapshot(tmp_path)


def test_warns_of_missing_slices(tmp_path: Path) -> None:
    assert any("holds num_slices 1 only" in warning for warning in export([item()], tmp_path).warnings)
    complete = [item(at("5", s, "64", "4096", "16"), study=s) for s in ("1", "2", "3")]
    assert not any("num_slices" in warning for warning in export(complete, tmp_path).warnings)


def qkv() -> list[ExportItem]:
    return [item(at("5", slices, "64", "4096", "16"), study=slices) for slices in ("1", "3")]


def test_warns_once_of_moe_servers_where_a_model_has_qkv_but_no_gate_up(tmp_path: Path) -> None:
    assert sum("fused_moe_lora" in warning for warning in export(qkv(), tmp_path).warnings) == 1
    dense = export([item(at("5", "2", "64", "4096", "16"), study="2")], tmp_path)
    assert not any("fused_moe_lora" in warning for warning in dense.warnings)


def test_where_a_plan_knows_all_lookups_no_experts_are_guessed_at(tmp_path: Path) -> None:
    known = export(qkv(), tmp_path, required=[each.call for each in qkv()])
    assert not any("MoE" in warning for warning in known.warnings)


def test_warns_of_some_of_the_moe_files_without_the_others(tmp_path: Path) -> None:
    parts = ("W13_SHRINK", "W13_EXPAND", "W2_SHRINK", "W2_EXPAND")
    for count, part in enumerate(parts, start=1):
        (tmp_path / f"NVIDIA_H200_FUSED_MOE_LORA_{part}.json").write_text("{}")
        warned = any("beside others of the four" in warning for warning in export(qkv(), tmp_path).warnings)
        assert warned == (count < len(parts))


def test_warns_of_foreign_entries_that_kill_a_server(tmp_path: Path) -> None:
    put(tmp_path, {("9", "1", "64", "4096", "16"): {"block_m": 16}})
    warnings = export([item()], tmp_path).warnings
    assert any("9/1/64/4096/16" in warning and "num_ctas" in warning for warning in warnings)


@pytest.mark.parametrize("allowed", [0, 1, 2])
@pytest.mark.parametrize("first", [[], [item(block_m=16), item(at("5", "1", "8", "12288", "16"), 16, "t")]])
def test_killed_between_files_and_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int, first: list[ExportItem]
) -> None:
    items = [item(expand()), item(), item(at("5", "1", "64", "12288", "16"), 32, "u")]
    through, killed = tmp_path / "through", tmp_path / "killed"
    for folder in (through, killed):
        if first:
            export(first, folder)
    report = export(items, through)

    before = table(killed) if first else {}
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_after(patch, allowed)
        export(items, killed)
    assert (table(killed) if (killed / SHRINK).exists() else {}) == before
    again = export(items, killed)

    assert table(killed) == table(through)
    assert table(killed, EXPAND) == table(through, EXPAND)
    assert kinds(killed) == kinds(through)
    assert again.skipped_aliases == report.skipped_aliases == ()


def kinds(folder: Path) -> dict[tuple[str, KeyPath], str]:
    return {(record.file, record.key): record.kind for record in provenance.read(folder)}
