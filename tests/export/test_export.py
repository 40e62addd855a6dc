from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from autotune.contract import Call
from autotune.errors import AutotuneError, InputError
from autotune.export.export import ExportReport, export
from autotune.export.file import ExportItem
from autotune.servers import Lookup, files, provenance
from autotune.servers.vllm import facts
from autotune.servers.vllm.server import VLLM

GPU = "NVIDIA H200"
SHRINK = "NVIDIA_H200_SHRINK.json"
EXPAND = "NVIDIA_H200_EXPAND_TRUE.json"
KEY = ("5", "1", "64", "4096", "16")
ALIAS = ("4", "1", "64", "4096", "16")

Key = tuple[str, ...]


def shrink(*key: str) -> Call:
    return Call("vllm", "shrink", dict(zip(facts.DENSE_LEVELS, map(int, key or KEY), strict=True)))


def expand() -> Call:
    dims = {"max_loras": 5, "num_slices": 3, "m": 64, "k": 16, "n": 4096, "add_inputs": 1}
    return Call("vllm", "expand", dims)


def item(call: Call | None = None, block_m: int = 128, study: str = "s", incumbent: bool = False) -> ExportItem:
    config = {"block_m": block_m, "block_n": 32, "block_k": 64, "split_k": 2, "num_warps": 8, "num_stages": 3}
    return ExportItem(study, call or shrink(), config, incumbent, GPU, {"backend": "replay"})


def entry(block_m: int = 128) -> dict[str, Any]:
    return VLLM.entry(item(block_m=block_m).config, shrink())


def table(folder: Path, file: str = SHRINK) -> dict[Key, dict[str, Any]]:
    return files.read_table(folder / file, facts.DENSE_LEVELS)


def records(folder: Path) -> dict[Key, provenance.Record]:
    return {record.key: record for record in provenance.read(folder) if record.file == SHRINK}


def put(folder: Path, content: dict[Key, dict[str, Any]], file: str = SHRINK) -> None:
    (folder / file).write_text(files.table_text(content))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != files.LOCK_NAME}


def test_writes_own_key_and_alias_and_proves_both(tmp_path: Path) -> None:
    report = export([item()], tmp_path)
    assert table(tmp_path) == {ALIAS: entry(), KEY: entry()}
    assert set(snapshot(tmp_path)) == {SHRINK, provenance.FILE_NAME}
    assert report.files == (tmp_path / SHRINK, tmp_path / provenance.FILE_NAME)
    assert [record.key for record in report.of_kind("own")] == [KEY]
    assert [record.key for record in report.of_kind("alias")] == [ALIAS]
    assert [proof.lookup.path for proof in report.proofs] == [tmp_path / SHRINK] * 2
    assert all(proof.lookup.exact for proof in report.proofs)


def test_round_trip_through_the_servers_lookup(tmp_path: Path) -> None:
    keys = [(loras, s, m, "4096", "16") for loras in ("5", "9") for s in ("1", "2", "3") for m in ("8", "64", "1024")]
    items = [item(shrink(*key), block_m=16 * index, study=str(index)) for index, key in enumerate(keys, start=1)]
    export([*items, item(expand(), 64)], tmp_path)
    for each in [*items, item(expand(), 64)]:
        found = VLLM.lookup(tmp_path, GPU, each.call)
        assert found.exact
        assert found.config == VLLM.entry(each.config, each.call)


def test_what_a_plan_requires_is_answered_by_the_default(tmp_path: Path) -> None:
    overwriting = Call("vllm", "expand", {**expand().dims, "add_inputs": 0})
    required = [item().call, shrink("5", "3", "64", "4096", "16"), shrink("5", "1", "8", "12288", "16"), overwriting]
    export([item()], tmp_path, required=required)
    for call in required[1:]:
        assert VLLM.lookup(tmp_path, GPU, call).config == VLLM.default_config(call)
        assert VLLM.lookup(tmp_path, GPU, call).exact
    assert VLLM.lookup(tmp_path, GPU, item().call).config == entry()
    assert {("5", "1", m, k, "16") for m in ("8", "64") for k in ("4096", "12288")} <= set(table(tmp_path))
    assert not (tmp_path / EXPAND).exists()


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
    assert table(tmp_path)[KEY] == VLLM.default_config(shrink())
    assert list(table(tmp_path, EXPAND).values()) == [VLLM.default_config(expand())] * 2


def test_exported_text_has_ascending_integer_keys_and_nine_config_keys(tmp_path: Path) -> None:
    export([item(shrink("5", "1", m, "4096", "16"), study=m) for m in ("1024", "8", "64")], tmp_path)
    content = json.loads((tmp_path / SHRINK).read_text())
    assert list(content) == ["4", "5"]
    assert list(content["5"]["1"]) == ["8", "64", "1024"]
    leaf = content["5"]["1"]["8"]["4096"]["16"]
    assert len(leaf) == 9
    assert leaf["max_nreg"] is None


def test_merge_keeps_other_shapes_verbatim(tmp_path: Path) -> None:
    foreign: files.Table = {("9", "3", "64", "4096", "16"): {"block_m": 7, "comment": "theirs"}}
    put(tmp_path, foreign)
    export([item(shrink("9", "1", "64", "4096", "16"))], tmp_path)
    assert table(tmp_path).items() >= foreign.items()
    assert ("9", "3", "64", "4096", "16") not in records(tmp_path)


def test_merge_replaces_the_same_shape(tmp_path: Path) -> None:
    put(tmp_path, {KEY: entry(16)})
    export([item()], tmp_path)
    assert table(tmp_path)[KEY] == entry(128)
    assert records(tmp_path)[KEY].replaced == entry(16)


def test_overwrite_drops_other_shapes_and_their_records(tmp_path: Path) -> None:
    export([item(shrink("9", "1", "64", "4096", "16")), item(expand())], tmp_path)
    export([item()], tmp_path, "overwrite")
    assert set(table(tmp_path)) == {KEY, ALIAS}
    assert set(records(tmp_path)) == {KEY, ALIAS}
    assert (tmp_path / EXPAND).exists()
    assert EXPAND in {record.file for record in provenance.read(tmp_path)}


def test_overwrite_does_not_read_the_old_file(tmp_path: Path) -> None:
    (tmp_path / SHRINK).write_text("{")
    export([item()], tmp_path, "overwrite")
    assert table(tmp_path)[KEY] == entry()


def test_new_leaves_the_old_file_alone(tmp_path: Path) -> None:
    put(tmp_path, {KEY: entry(16)})
    before = (tmp_path / SHRINK).read_bytes()
    for index in (1, 2):
        report = export([item()], tmp_path, "new")
        assert report.files[0].name == f"NVIDIA_H200_SHRINK_tuned_{index}.json"
        assert table(tmp_path, report.files[0].name) == {KEY: entry(), ALIAS: entry()}
        assert any("no server reads this name" in warning for warning in report.warnings)
    assert (tmp_path / SHRINK).read_bytes() == before


def test_new_takes_the_servers_name_if_it_is_free(tmp_path: Path) -> None:
    assert export([item()], tmp_path, "new").files[0] == tmp_path / SHRINK


@pytest.mark.parametrize("order", [1, -1])
def test_alias_yields_to_a_study_of_that_key_in_one_export(tmp_path: Path, order: int) -> None:
    items = [item(shrink(*ALIAS), 16, "of 4"), item(shrink(*KEY), 32, "of 5")][::order]
    report = export(items, tmp_path)
    assert (table(tmp_path)[ALIAS], table(tmp_path)[KEY]) == (entry(16), entry(32))
    (skipped,) = report.skipped_aliases
    assert (skipped.study, skipped.file, skipped.key) == ("of 5", SHRINK, ALIAS)
    assert "of 4" in skipped.reason


@pytest.mark.parametrize("order", [1, -1])
def test_alias_yields_to_a_study_of_that_key_across_exports(tmp_path: Path, order: int) -> None:
    reports = [
        export([each], tmp_path) for each in [item(shrink(*ALIAS), 16, "of 4"), item(shrink(*KEY), 32, "of 5")][::order]
    ]
    assert (table(tmp_path)[ALIAS], table(tmp_path)[KEY]) == (entry(16), entry(32))
    assert [len(report.skipped_aliases) for report in reports] == ([0, 1] if order == 1 else [0, 0])
    assert records(tmp_path)[ALIAS].kind == "own"


def test_alias_is_renewed_with_its_result(tmp_path: Path) -> None:
    export([item(block_m=16)], tmp_path)
    export([item(block_m=32)], tmp_path)
    assert table(tmp_path) == {KEY: entry(32), ALIAS: entry(32)}


def test_alias_keeps_off_entries_of_unknown_origin(tmp_path: Path) -> None:
    put(tmp_path, {ALIAS: entry(16)})
    report = export([item()], tmp_path)
    assert table(tmp_path)[ALIAS] == entry(16)
    assert "not from this tool" in report.skipped_aliases[0].reason
    assert ALIAS not in records(tmp_path)


def test_alias_that_was_edited_by_hand_is_of_unknown_origin(tmp_path: Path) -> None:
    export([item()], tmp_path)
    put(tmp_path, table(tmp_path) | {ALIAS: entry(16)})
    export([item(block_m=64)], tmp_path)
    assert table(tmp_path) == {KEY: entry(64), ALIAS: entry(16)}
    assert set(records(tmp_path)) == {KEY}


def test_every_m_gets_every_shape(tmp_path: Path) -> None:
    small, large = shrink("5", "1", "64", "4096", "16"), shrink("5", "1", "1024", "12288", "16")
    report = export([item(small, 16), item(large, 32, "t")], tmp_path)
    assert {record.key[2] for record in report.of_kind("pin")} == {"127", "128"}
    fills = {record.key: record.config for record in report.of_kind("default-fill")}
    expected = {
        (loras, "1", *rest): VLLM.default_config(shrink(loras, "1", *rest))
        for loras in ("4", "5")
        for rest in (("64", "12288", "16"), ("1024", "4096", "16"))
    }
    assert fills == expected
    assert {key: table(tmp_path)[key] for key in fills} == expected
    assert {records(tmp_path)[key].kind for key in fills} == {"default-fill"}
    assert len(report.proofs) == len(table(tmp_path)) == 16


def test_a_result_replaces_a_fill_but_a_fill_replaces_nothing(tmp_path: Path) -> None:
    export([item(shrink("5", "1", "64", "4096", "16")), item(shrink("5", "1", "8", "12288", "16"), 16, "t")], tmp_path)
    fill = ("5", "1", "64", "12288", "16")
    assert records(tmp_path)[fill].kind == "default-fill"
    report = export([item(shrink(*fill), 32)], tmp_path)
    assert (table(tmp_path)[fill], records(tmp_path)[fill].kind) == (entry(32), "own")
    assert table(tmp_path)[("4", *fill[1:])] == entry(32)
    assert not report.of_kind("default-fill")
    export([item()], tmp_path)
    assert table(tmp_path)[fill] == entry(32)


def test_fills_keep_off_foreign_entries(tmp_path: Path) -> None:
    foreign = ("5", "1", "8", "12288", "16")
    put(tmp_path, {foreign: entry(16)})
    export([item()], tmp_path)
    assert table(tmp_path)[foreign] == entry(16)
    assert table(tmp_path)["5", "1", "64", "12288", "16"] == VLLM.default_config(shrink("5", "1", "64", "12288", "16"))


def test_a_new_max_loras_does_not_take_slices_from_a_server(tmp_path: Path) -> None:
    put(tmp_path, {("8", "3", "64", "4096", "16"): entry(16)})
    assert VLLM.lookup(tmp_path, GPU, shrink("5", "3", "64", "4096", "16")).failure is None
    export([item()], tmp_path)
    found = VLLM.lookup(tmp_path, GPU, shrink("5", "3", "64", "4096", "16"))
    assert found.config == VLLM.default_config(shrink("5", "3", "64", "4096", "16"))


@pytest.mark.parametrize("content", ["{}", '{"5": {}}', '{"5": {"1": {"64": {"4096": {"16": {}}}}}}'])
def test_empty_objects_hold_no_entry(tmp_path: Path, content: str) -> None:
    (tmp_path / SHRINK).write_text(content)
    export([item()], tmp_path)
    assert table(tmp_path) == {KEY: entry(), ALIAS: entry()}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (SHRINK, '{"5": {"1": '),
        (SHRINK, "[]"),
        (SHRINK, '{"_meta": {}}'),
        (SHRINK, '{"5": {"1": {"64": {"4096": {"block_m": 16}}}}}'),
        (SHRINK, '{"5": {"1": {"64": {"4096": {"16": {"768": {"block_m": 16}}}}}}}'),
        (provenance.FILE_NAME, "{"),
        (provenance.FILE_NAME, '{"schema_version": 99, "entries": []}'),
        (provenance.FILE_NAME, '{"schema_version": 1, "entries": [{"file": "x"}]}'),
        (provenance.FILE_NAME, '{"schema_version": 1, "entries": [{"file": "x", "key": ["y"]}]}'),
        (provenance.FILE_NAME, '{"schema_version": 1}'),
        (provenance.FILE_NAME, "[1]"),
    ],
)
def test_malformed_files_stop_the_export_and_stay(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / file).write_text(content)
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=file) as error:
        export([item(expand()), item()], tmp_path)
    assert "\n" not in str(error.value)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_refuses_what_is_no_folder(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written to"):
        export([item()], tmp_path / folder)
    assert snapshot(tmp_path) == {"file": b"x"}


def test_creates_the_folder(tmp_path: Path) -> None:
    export([item()], tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / SHRINK).exists()


def test_refuses_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished study"):
        export([], tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_refuses_an_unknown_mode(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="on_exist: got 'append', allowed: merge, overwrite, new"):
        export([item()], tmp_path, "append")  # type: ignore[arg-type]


def test_refuses_two_results_for_one_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{SHRINK}: at 5/1/64/4096/16: .*'bf16' and 'fp16'"):
        export([item(block_m=16, study="bf16"), item(block_m=32, study="fp16")], tmp_path / "a")
    assert not (tmp_path / "a").exists()
    export([item(study="bf16"), item(study="fp16")], tmp_path)


def test_refuses_a_folder_that_another_export_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOCK_TIMEOUT_S", 0)
    with (
        filelock.FileLock(tmp_path / files.LOCK_NAME),
        pytest.raises(AutotuneError, match="another export holds"),
    ):
        export([item()], tmp_path)
    assert not snapshot(tmp_path)


def test_files_of_gpus_are_apart(tmp_path: Path) -> None:
    other = ExportItem("s", shrink(), item(block_m=16).config, False, "NVIDIA H20-3e", {})
    export([item(), other], tmp_path)
    assert table(tmp_path)[KEY] == entry(128)
    assert table(tmp_path, "NVIDIA_H20_3e_SHRINK.json")[KEY] == entry(16)


def test_warns_of_missing_slices(tmp_path: Path) -> None:
    assert any("holds num_slices 1 only" in warning for warning in export([item()], tmp_path).warnings)
    complete = [item(shrink("5", s, "64", "4096", "16"), study=s) for s in ("1", "2", "3")]
    assert not any("num_slices" in warning for warning in export(complete, tmp_path).warnings)


def qkv() -> list[ExportItem]:
    return [item(shrink("5", slices, "64", "4096", "16"), study=slices) for slices in ("1", "3")]


def test_warns_once_of_moe_servers_where_a_model_has_qkv_but_no_gate_up(tmp_path: Path) -> None:
    assert sum("fused_moe_lora" in warning for warning in export(qkv(), tmp_path).warnings) == 1
    dense = export([item(shrink("5", "2", "64", "4096", "16"), study="2")], tmp_path)
    assert not any("fused_moe_lora" in warning for warning in dense.warnings)


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


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lookup_that_misses_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    wrong = Lookup("default", VLLM.default_config(shrink()))
    name = "resolve" if when == "before" else "lookup"
    monkeypatch.setattr(VLLM, name, lambda *_: wrong)
    with pytest.raises(AutotuneError, match="the server's lookup of 5/1/64/4096/16 gives"):
        export([item()], tmp_path)
    assert bool(snapshot(tmp_path)) == (when == "after")


class Killed(BaseException):
    """Stands for the process's end: nothing catches it."""


def replacements(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """Let so many files be replaced, then die."""
    left: Iterator[int] = iter(range(allowed))
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise Killed
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.parametrize("allowed", [0, 1, 2])
@pytest.mark.parametrize("first", [[], [item(block_m=16), item(shrink("5", "1", "8", "12288", "16"), 16, "t")]])
def test_killed_between_files_and_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int, first: list[ExportItem]
) -> None:
    items = [item(expand()), item(), item(shrink("5", "1", "64", "12288", "16"), 32, "u")]
    through, killed = tmp_path / "through", tmp_path / "killed"
    for folder in (through, killed):
        if first:
            export(first, folder)
    report = export(items, through)

    before = table(killed) if first else {}
    with monkeypatch.context() as patch, pytest.raises(Killed):
        replacements(patch, allowed)
        export(items, killed)
    assert (table(killed) if (killed / SHRINK).exists() else {}) == before
    again = export(items, killed)

    assert table(killed) == table(through)
    assert table(killed, EXPAND) == table(through, EXPAND)
    assert kinds(killed) == kinds(through)
    assert again.skipped_aliases == report.skipped_aliases == ()


def kinds(folder: Path) -> dict[tuple[str, Key], str]:
    return {(record.file, record.key): record.kind for record in provenance.read(folder)}


SMALL_KEYS = st.tuples(*[st.sampled_from(values) for values in (("2", "3", "4"), ("1", "3"), *[("8", "16")] * 3)])
BATCHES = st.lists(
    st.dictionaries(SMALL_KEYS, st.one_of(st.none(), st.sampled_from([16, 32, 64])), min_size=1, max_size=5),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, database=None, max_examples=60)
@given(BATCHES)
def test_the_last_result_of_a_key_stands_and_no_shape_gets_anothers(
    tmp_path_factory: pytest.TempPathFactory, batches: list[dict[Key, int | None]]
) -> None:
    folder = tmp_path_factory.mktemp("out")
    last: dict[Key, int | None] = {}
    reports: list[ExportReport] = []
    for batch in batches:
        items = [item(shrink(*key), block_m or 16, str(key), block_m is None) for key, block_m in batch.items()]
        reports.append(export(items, folder))
        last |= batch
    for key, block_m in last.items():
        found = VLLM.lookup(folder, GPU, shrink(*key))
        assert found.exact
        assert found.config == (entry(block_m) if block_m else VLLM.default_config(shrink(*key)))
    own = {key for key, record in records(folder).items() if record.kind == "own"}
    assert own == set(last)
    assert set(records(folder)) == set(table(folder)) == VLLM.needed_paths(table(folder))
