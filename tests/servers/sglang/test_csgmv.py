"""SGLang's files and lookup; every expectation follows from contracts B1."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from autotune import servers
from autotune.contract import Call
from autotune.errors import InputError
from autotune.export.export import export
from autotune.servers import Lookup
from autotune.servers.sglang import csgmv
from autotune.servers.sglang.facts import CHUNK_SIZES
from autotune.servers.sglang.server import SGLANG
from tests.builders.csgmv_files import GPU, OTHER, TUNED, call, item, lookup, write

H200 = "NVIDIA H200"
REFERENCE = Path(__file__).parents[2] / "data" / "sglang_csgmv_h200_triton_3_5_1"


def failure(found: Lookup) -> tuple[str, str, str | None]:
    assert found.failure is not None
    assert found.config is None
    return found.failure.error, found.failure.level, found.failure.key


def test_is_the_runtime_named_sglang() -> None:
    assert servers.get("sglang") is SGLANG
    assert servers.names() == ["sglang", "vllm"]


def test_defaults_leave_warps_and_stages_to_triton() -> None:
    assert SGLANG.default_config(call()) == {"BLOCK_N": 16, "BLOCK_K": 256}
    assert SGLANG.default_config(call("expand")) == {"BLOCK_N": 64, "BLOCK_K": 16}


def test_file_names_keep_dashes() -> None:
    shrink, expand = call(), call("expand", K=4096)
    assert SGLANG.file_name(GPU, shrink) == (
        "csgmv_configs/triton_3_6_0/lora_shrink,K=1024,R=64,S=3,device=NVIDIA_H20-3e.json"
    )
    assert SGLANG.file_name(H200, expand) == (
        "csgmv_configs/triton_3_6_0/lora_expand,K=4096,R=64,S=3,device=NVIDIA_H200.json"
    )


@pytest.mark.parametrize(
    ("version", "folder"), [("3.5.1", "triton_3_5_1"), ("3.6.0+git1a2b3c", "triton_3_6_0+git1a2b3c")]
)
def test_folder_is_of_the_calls_triton(version: str, folder: str) -> None:
    assert SGLANG.file_name(GPU, call(triton=version)).split("/")[1] == folder


def test_folder_is_of_the_installed_triton_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csgmv, "installed_version", lambda package: "9.9.9")
    assert "/triton_9_9_9/" in SGLANG.file_name(GPU, call(triton=None))
    monkeypatch.setattr(csgmv, "installed_version", lambda package: None)
    with pytest.raises(InputError, match="triton is not installed"):
        SGLANG.file_name(GPU, call(triton=None))


def test_keys() -> None:
    assert (SGLANG.levels(call()), SGLANG.key_path(call(chunk_size=32))) == (("chunk_size",), ("32",))
    assert SGLANG.alias_paths(call()) == []
    assert SGLANG.needed_paths([("32",)]) == {(str(chunk),) for chunk in CHUNK_SIZES}
    assert SGLANG.needed_paths([]) == set()


def test_entry_leaves_out_what_is_unset_or_not_read() -> None:
    config = {**OTHER, "num_warps": None, "num_stages": 3, "maxnreg": 96}
    assert SGLANG.entry(config, call()) == {**OTHER, "num_stages": 3}
    assert SGLANG.entry(config, call("expand")) == {**OTHER, "num_stages": 3, "maxnreg": 96}


def test_entry_refuses_missing_and_unknown_keys() -> None:
    with pytest.raises(InputError, match="lacks BLOCK_K"):
        SGLANG.entry({"BLOCK_N": 16, "BLOCK_K": None}, call())
    with pytest.raises(InputError, match="has block_n; allowed: BLOCK_N"):
        SGLANG.entry({**OTHER, "block_n": 16}, call())


def test_refuses_calls_it_does_not_know() -> None:
    with pytest.raises(InputError, match="got op 'embed', allowed: shrink, expand"):
        SGLANG.default_config(call("embed"))
    with pytest.raises(InputError, match="lacks S, chunk_size"):
        SGLANG.file_name(GPU, Call("sglang", "shrink", {"K": 1, "R": 1}))


def test_exact_chunk(tmp_path: Path) -> None:
    path = write(tmp_path, {"16": TUNED, "32": OTHER})
    found = lookup(tmp_path)
    assert (found.config, found.key_path, found.path, found.warnings) == (TUNED, ("16",), path, ())
    assert found.exact


@pytest.mark.parametrize(
    ("keys", "wanted", "taken", "ties"),
    [
        (("16", "128"), 32, "16", ()),
        (("16", "128"), 128, "128", ()),
        (("32", "96"), 64, "32", ("96",)),
        (("96", "32"), 64, "96", ("32",)),
    ],
)
def test_nearest_chunk_and_ties(keys: tuple[str, str], wanted: int, taken: str, ties: tuple[str, ...]) -> None:
    table = {key: {**OTHER, "num_warps": index} for index, key in enumerate(keys, start=1)}
    found = SGLANG.resolve(table, call(chunk_size=wanted))
    assert found.config == table[taken]
    assert (found.steps[0].taken, found.steps[0].ties) == (taken, ties)
    assert found.exact == (taken == str(wanted))


def test_absent_file_means_the_default(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        found = lookup(folder)
        assert (found.origin, found.config) == ("default", {"BLOCK_N": 16, "BLOCK_K": 256})
        assert found.path == folder / SGLANG.file_name(GPU, call())


@pytest.mark.parametrize("text", ['{"16": ', "\xff"])
def test_malformed_file(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    assert failure(lookup(tmp_path)) == ("JSONDecodeError", "file", None)


@pytest.mark.parametrize("wanted", [16, 64])
def test_metadata_key_is_a_value_error_even_with_the_exact_key(wanted: int) -> None:
    table = {"16": TUNED, "triton_version": {"BLOCK_N": 16}}
    assert failure(SGLANG.resolve(table, call(chunk_size=wanted))) == ("ValueError", "chunk_size", "triton_version")


@pytest.mark.parametrize(
    ("table", "error"), [({}, "ValueError"), ([], "AttributeError"), (None, "AttributeError"), (7, "AttributeError")]
)
def test_no_chunks_at_all(table: Any, error: str) -> None:
    assert failure(SGLANG.resolve(table, call())) == (error, "chunk_size", None)


@pytest.mark.parametrize("key", ["BLOCK_N", "BLOCK_K"])
def test_missing_block_is_a_key_error(key: str) -> None:
    incomplete = {name: value for name, value in TUNED.items() if name != key}
    assert failure(SGLANG.resolve({"16": incomplete}, call())) == ("KeyError", "config", key)


@pytest.mark.parametrize("key", ["BLOCK_N", "BLOCK_K"])
def test_null_for_a_block_is_no_config(key: str) -> None:
    assert failure(SGLANG.resolve({"16": {**TUNED, key: None}}, call())) == ("TypeError", "config", key)


def test_config_of_another_kind() -> None:
    assert failure(SGLANG.resolve({"16": [1, 2]}, call())) == ("TypeError", "config", None)
    # The server takes null for a miss, then arrives at it again as the nearest.
    assert failure(SGLANG.resolve({"16": None}, call())) == ("TypeError", "config", None)


def test_maxnreg_is_read_by_expand_only() -> None:
    table = {"16": {**TUNED, "maxnreg": 128}}
    assert SGLANG.resolve(table, call()).config == TUNED
    assert SGLANG.resolve(table, call("expand")).config == table["16"]


def test_exact_triton_version_goes_first(tmp_path: Path) -> None:
    write(tmp_path, {"16": OTHER}, call(triton="3.9.0"))
    write(tmp_path, {"16": TUNED})
    found = lookup(tmp_path)
    assert (found.config, found.exact) == (TUNED, True)


def test_fallback_to_another_version_warns(tmp_path: Path) -> None:
    path = write(tmp_path, {"16": OTHER}, call(triton="3.5.1"))
    found = lookup(tmp_path)
    assert (found.config, found.path, found.exact) == (OTHER, path, False)
    assert len(found.warnings) == 1
    assert "none for triton_3_6_0, the server takes that of triton_3_5_1" in found.warnings[0]


def test_fallback_compares_names_as_text(tmp_path: Path) -> None:
    for version, config in (("3.10.0", TUNED), ("3.9.0", OTHER), ("3.5.1", {**OTHER, "num_warps": 8})):
        write(tmp_path, {"16": config}, call(triton=version))
    found = lookup(tmp_path)
    assert found.config == OTHER
    assert "take triton_3_9_0 before triton_3_10_0" in found.warnings[1]
    [_, warning] = SGLANG.warnings(tmp_path, {SGLANG.file_name(GPU, call(triton="3.10.0")): {}}, {})
    assert "take triton_3_9_0 before triton_3_10_0" in warning


def test_fallback_passes_by_folders_without_the_file(tmp_path: Path) -> None:
    write(tmp_path, {"16": TUNED}, call("expand", triton="3.9.0"))
    write(tmp_path, {"16": OTHER}, call(triton="3.5.1"))
    assert lookup(tmp_path).config == OTHER


@pytest.mark.parametrize("file", sorted(REFERENCE.glob("*.json")), ids=lambda file: file.stem)
def test_the_packaged_files(tmp_path: Path, file: Path) -> None:
    folder = tmp_path / "csgmv_configs" / "triton_3_5_1"
    shutil.copytree(REFERENCE, folder)
    op, sizes = file.stem.removeprefix("lora_").split(",", 1)
    K, R, S = (int(part.split("=")[1]) for part in sizes.split(",")[:3])
    table = json.loads(file.read_text())
    assert set(table) == {"16", "32", "64", "128"}
    for chunk, config in table.items():
        wanted = Call("sglang", op, {"K": K, "R": R, "S": S, "chunk_size": int(chunk)}, "3.5.1")
        assert SGLANG.file_name(H200, wanted) == f"csgmv_configs/triton_3_5_1/{file.name}"
        found = SGLANG.lookup(tmp_path, H200, wanted)
        assert (found.config, found.exact) == (config, True)
        assert SGLANG.entry(config, wanted) == config


def test_export_round_trip(tmp_path: Path) -> None:
    left = {**TUNED, "num_warps": None}
    capped = {**TUNED, "maxnreg": 96}
    items = [item(left, 16), item(TUNED, 128), item(capped, 16, "expand"), item(TUNED, 32, "expand", incumbent=True)]
    report = export(items, tmp_path)
    assert all(proof.lookup.exact for proof in report.proofs)
    for each in items[:3]:
        assert SGLANG.lookup(tmp_path, GPU, each.call).config == SGLANG.entry(each.config, each.call)
    assert lookup(tmp_path, call("expand", 32)).config == {"BLOCK_N": 64, "BLOCK_K": 16}
    text = json.loads((tmp_path / SGLANG.file_name(GPU, call())).read_text())
    assert list(text) == ["16", "32", "64", "128"]
    assert text["16"] == {"BLOCK_N": 64, "BLOCK_K": 64, "num_stages": 2}
    assert text["32"] == text["64"] == {"BLOCK_N": 16, "BLOCK_K": 256}
    assert any("no longer sees the configs that SGLang brings" in warning for warning in report.warnings)


def test_results_of_two_workloads_cannot_both_be_written(tmp_path: Path) -> None:
    prefill, decode = (
        replace(item(config, 16), provenance={"problem": {"workload": workload}})
        for config, workload in ((TUNED, "prefill"), (OTHER, "decode"))
    )
    with pytest.raises(InputError, match=r"cannot tell apart; export one of them, or .*: --workload mixed"):
        export([prefill, decode], tmp_path)
    with pytest.raises(InputError, match=r"cannot tell apart; export one of them$"):
        export([prefill, replace(decode, provenance=prefill.provenance)], tmp_path)
    mixed = replace(decode, study="together", provenance={"problem": {"workload": "mixed"}})
    with pytest.raises(InputError, match=r"export one of them: 'together' is for both kinds$"):
        export([prefill, mixed], tmp_path)


def test_export_keeps_triton_versions_apart_and_merges_into_its_own(tmp_path: Path) -> None:
    write(tmp_path, {"16": OTHER, "64": OTHER}, call(triton="3.5.1"))
    write(tmp_path, {"16": OTHER, "64": OTHER})
    export([item(TUNED, 16)], tmp_path)
    assert lookup(tmp_path, call(triton="3.5.1")).config == OTHER
    assert [lookup(tmp_path, call(chunk_size=chunk)).config for chunk in (16, 64)] == [TUNED, OTHER]


def test_triton_version_survives_json_and_is_left_out_if_unset() -> None:
    for each in (call(), call(triton=None)):
        assert Call.from_json(json.loads(json.dumps(each.to_json()))) == each
    assert "triton" not in call(triton=None).to_json()


MEASURED = st.dictionaries(st.sampled_from(CHUNK_SIZES), st.tuples(st.integers(1, 99), st.integers(1, 99)), min_size=1)


@settings(max_examples=40)
@given(st.lists(MEASURED, min_size=1, max_size=3), st.sampled_from(["shrink", "expand"]))
def test_no_chunk_resolves_to_what_was_slower_than_its_default(
    tmp_path_factory: pytest.TempPathFactory, exports: list[dict[int, tuple[int, int]]], op: str
) -> None:
    """Times of tuned and default config by chunk; a config is told by its num_stages, the chunk it was tuned for.

    One export after the other into one folder: the last result of a chunk counts.
    """
    folder = tmp_path_factory.mktemp("export")
    default = SGLANG.default_config(call(op))
    measured: dict[int, tuple[int, int]] = {}
    for latest in exports:
        measured |= latest
        export(
            [
                item({**OTHER, "num_stages": chunk}, chunk, op, incumbent=default_us <= tuned_us)
                for chunk, (tuned_us, default_us) in latest.items()
            ],
            folder,
        )
    for chunk in CHUNK_SIZES:
        config = lookup(folder, call(op, chunk)).config
        assert config is not None
        if config != default:
            assert config["num_stages"] == chunk
        if chunk in measured:
            tuned_us, default_us = measured[chunk]
            assert (config != default) == (tuned_us < default_us)


def test_fallback_takes_a_gpus_name_as_it_is_and_passes_by_links_to_nothing(tmp_path: Path) -> None:
    gpu = "GPU [1]"
    for version in ("3.5.1", "3.9.0"):
        path = tmp_path / SGLANG.file_name(gpu, call(triton=version))
        path.parent.mkdir(parents=True)
    path.symlink_to("nowhere")
    old = tmp_path / SGLANG.file_name(gpu, call(triton="3.5.1"))
    old.write_text(json.dumps({"16": TUNED}))
    found = SGLANG.lookup(tmp_path, gpu, call())
    assert (found.config, found.path) == (TUNED, old)
