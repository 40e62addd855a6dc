"""A file holds each result under all its keys, and a default wherever a neighbour's config would be found."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from autotune.export.export import ExportReport, export
from autotune.servers import KeyPath
from autotune.servers.vllm.server import VLLM
from tests.builders.exports import (
    ALIAS,
    GPU,
    KEY,
    SHRINK,
    at,
    entry,
    item,
    of_kind,
    put,
    records,
    served,
    table,
)


@pytest.mark.parametrize("order", [1, -1])
def test_alias_yields_to_a_study_of_that_key_in_one_export(tmp_path: Path, order: int) -> None:
    items = [item(at(*ALIAS), 16, "of 4"), item(at(*KEY), 32, "of 5")][::order]
    report = export(items, tmp_path)
    assert (table(tmp_path)[ALIAS], table(tmp_path)[KEY]) == (entry(16), entry(32))
    (skipped,) = report.skipped_aliases
    assert (skipped.study, skipped.file, skipped.key) == ("of 5", SHRINK, ALIAS)
    assert "of 4" in skipped.reason


@pytest.mark.parametrize("order", [1, -1])
def test_alias_yields_to_a_study_of_that_key_across_exports(tmp_path: Path, order: int) -> None:
    reports = [export([each], tmp_path) for each in [item(at(*ALIAS), 16, "of 4"), item(at(*KEY), 32, "of 5")][::order]]
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
    small, large = at("5", "1", "64", "4096", "16"), at("5", "1", "1024", "12288", "16")
    report = export([item(small, 16), item(large, 32, "t")], tmp_path)
    assert {record.key[2] for record in of_kind(report, "pin")} == {"127", "128"}
    fills = {record.key: record.config for record in of_kind(report, "default-fill")}
    expected = {
        (loras, "1", *rest): VLLM.default_config(at(loras, "1", *rest))
        for loras in ("4", "5")
        for rest in (("64", "12288", "16"), ("1024", "4096", "16"))
    }
    assert fills == expected
    assert {key: table(tmp_path)[key] for key in fills} == expected
    assert {records(tmp_path)[key].kind for key in fills} == {"default-fill"}
    assert len(report.proofs) == len(table(tmp_path)) == 16


def test_a_result_replaces_a_fill_but_a_fill_replaces_nothing(tmp_path: Path) -> None:
    export([item(at("5", "1", "64", "4096", "16")), item(at("5", "1", "8", "12288", "16"), 16, "t")], tmp_path)
    fill = ("5", "1", "64", "12288", "16")
    assert records(tmp_path)[fill].kind == "default-fill"
    report = export([item(at(*fill), 32)], tmp_path)
    assert (table(tmp_path)[fill], records(tmp_path)[fill].kind) == (entry(32), "own")
    assert table(tmp_path)[("4", *fill[1:])] == entry(32)
    assert not of_kind(report, "default-fill")
    export([item()], tmp_path)
    assert table(tmp_path)[fill] == entry(32)


def test_fills_keep_off_foreign_entries(tmp_path: Path) -> None:
    foreign = ("5", "1", "8", "12288", "16")
    put(tmp_path, {foreign: entry(16)})
    export([item()], tmp_path)
    assert table(tmp_path)[foreign] == entry(16)
    assert table(tmp_path)["5", "1", "64", "12288", "16"] == VLLM.default_config(at("5", "1", "64", "12288", "16"))


def test_a_new_max_loras_does_not_take_slices_from_a_server(tmp_path: Path) -> None:
    put(tmp_path, {("8", "3", "64", "4096", "16"): entry(16)})
    assert VLLM.lookup(tmp_path, GPU, at("5", "3", "64", "4096", "16")).failure is None
    export([item()], tmp_path)
    found = VLLM.lookup(tmp_path, GPU, at("5", "3", "64", "4096", "16"))
    assert found.config == VLLM.default_config(at("5", "3", "64", "4096", "16"))


SMALL_KEYS = st.tuples(*[st.sampled_from(values) for values in (("2", "3", "4"), ("1", "3"), *[("8", "16")] * 3)])


BATCHES = st.lists(
    st.dictionaries(SMALL_KEYS, st.one_of(st.none(), st.sampled_from([16, 32, 64])), min_size=1, max_size=5),
    min_size=1,
    max_size=3,
)


@settings(max_examples=25)
@given(BATCHES)
def test_the_last_result_of_a_key_stands_and_no_shape_gets_anothers(
    tmp_path_factory: pytest.TempPathFactory, batches: list[dict[KeyPath, int | None]]
) -> None:
    folder = tmp_path_factory.mktemp("out")
    last: dict[KeyPath, int | None] = {}
    reports: list[ExportReport] = []
    for batch in batches:
        items = [item(at(*key), block_m or 16, str(key), block_m is None) for key, block_m in batch.items()]
        reports.append(export(items, folder))
        last |= batch
    lookup = served(folder)
    for key, block_m in last.items():
        found = lookup(at(*key))
        assert found.exact
        assert found.config == (entry(block_m) if block_m else VLLM.default_config(at(*key)))
    own = {key for key, record in records(folder).items() if record.kind == "own"}
    assert own == set(last)
    assert set(records(folder)) == set(table(folder)) == VLLM.needed_paths(table(folder))
