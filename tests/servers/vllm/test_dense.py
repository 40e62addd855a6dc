from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from autotune import servers
from autotune.contract import Call
from autotune.errors import InputError
from autotune.servers.device_name import device_name
from autotune.servers.vllm import launching
from autotune.servers.vllm.server import VLLM
from tests.builders.tables import nested

GPU = "NVIDIA H20-3e"
KEYS = {
    *("block_m", "block_n", "block_k", "split_k", "num_warps"),
    *("num_ctas", "num_stages", "max_nreg", "group_size_m"),
}


def shrink(max_loras: int = 5, num_slices: int = 1, m: int = 64, k: int = 4096, n: int = 16) -> Call:
    return Call("vllm", "shrink", {"max_loras": max_loras, "num_slices": num_slices, "m": m, "k": k, "n": n})


def expand(num_slices: int = 1, add_inputs: int = 1) -> Call:
    dims = {"max_loras": 5, "num_slices": num_slices, "m": 64, "k": 16, "n": 4096, "add_inputs": add_inputs}
    return Call("vllm", "expand", dims)


def config(block_m: int = 16) -> dict[str, int | None]:
    return {"block_m": block_m, "block_n": 32, "block_k": 64, "split_k": 4, "num_warps": 4, "num_stages": 3}


def entry(block_m: int = 16) -> dict[str, int | None]:
    return VLLM.entry(config(block_m), shrink())


def test_is_the_runtime_named_vllm() -> None:
    assert servers.get("vllm") is VLLM
    with pytest.raises(InputError, match="server: got 'tgi', allowed: "):
        servers.get("tgi")


@pytest.mark.parametrize(("m", "block_k", "split_k"), [(1, 256, 64), (127, 256, 64), (128, 32, 8), (8192, 32, 8)])
def test_shrink_default(m: int, block_k: int, split_k: int) -> None:
    assert VLLM.default_config(shrink(m=m)) == {
        "block_m": 32,
        "block_n": 16,
        "block_k": block_k,
        "split_k": split_k,
        "group_size_m": 8,
        "num_warps": 4,
        "num_ctas": 1,
        "num_stages": 2,
        "max_nreg": None,
    }


@pytest.mark.parametrize(("num_slices", "block_n"), [(1, 128), (2, 64), (3, 64)])
def test_expand_default(num_slices: int, block_n: int) -> None:
    assert VLLM.default_config(expand(num_slices)) == {
        "block_m": 64,
        "block_n": block_n,
        "block_k": 32,
        "split_k": 1,
        "group_size_m": 8,
        "num_warps": 4,
        "num_ctas": 1,
        "num_stages": 2,
        "max_nreg": None,
    }


def test_file_names() -> None:
    assert VLLM.file_name(GPU, shrink()) == "NVIDIA_H20_3e_SHRINK.json"
    assert VLLM.file_name(GPU, expand(add_inputs=1)) == "NVIDIA_H20_3e_EXPAND_TRUE.json"
    assert VLLM.file_name(GPU, expand(add_inputs=0)) == "NVIDIA_H20_3e_EXPAND_FALSE.json"


def test_keys_and_aliases() -> None:
    assert VLLM.key_path(shrink()) == ("5", "1", "64", "4096", "16")
    assert VLLM.alias_paths(shrink()) == [("4", "1", "64", "4096", "16")]
    assert VLLM.alias_paths(shrink(max_loras=1)) == []
    assert len(VLLM.levels(shrink())) == len(VLLM.key_path(shrink()))


def test_entry_fills_what_the_server_reads_or_fixes() -> None:
    assert entry() == config() | {"num_ctas": 1, "max_nreg": None, "group_size_m": 8}
    assert set(entry()) == KEYS
    kept = VLLM.entry(config() | {"group_size_m": 4, "num_ctas": 2}, shrink())
    assert (kept["group_size_m"], kept["num_ctas"]) == (4, 2)
    fixed = VLLM.entry(config() | {"split_k": 8, "max_nreg": 128}, expand())
    assert (fixed["split_k"], fixed["max_nreg"]) == (1, None)


def test_entry_refuses_missing_and_unknown_keys() -> None:
    without_split_k = {key: value for key, value in config().items() if key != "split_k"}
    with pytest.raises(InputError, match="lacks split_k"):
        VLLM.entry(without_split_k, shrink())
    assert VLLM.entry(without_split_k, expand())["split_k"] == 1
    with pytest.raises(InputError, match="has BLOCK_SIZE_M; allowed: block_m"):
        VLLM.entry(config() | {"BLOCK_SIZE_M": 16}, shrink())


def test_refuses_calls_it_does_not_know() -> None:
    with pytest.raises(InputError, match="got op 'bgmv', allowed: shrink, expand"):
        VLLM.default_config(Call("vllm", "bgmv", {}))
    with pytest.raises(InputError, match="lacks add_inputs"):
        VLLM.file_name(GPU, Call("vllm", "expand", shrink().dims))


def test_exact_lookup() -> None:
    found = VLLM.resolve(nested(*VLLM.key_path(shrink()), entry()), shrink())
    assert found.exact
    assert found.config == entry()
    assert found.key_path == VLLM.key_path(shrink())


@pytest.mark.parametrize(
    ("keys", "taken", "ties"), [(("16", "32"), "16", ("32",)), (("32", "16"), "32", ("16",)), (("16", "25"), "25", ())]
)
def test_ties_go_to_the_first_key(keys: tuple[str, str], taken: str, ties: tuple[str, ...]) -> None:
    table = nested("5", "1", {m: nested("4096", "16", entry(int(m))) for m in keys})
    found = VLLM.resolve(table, shrink(m=24))
    assert found.config == entry(int(taken))
    assert (found.steps[2].taken, found.steps[2].match, found.steps[2].ties) == (taken, "nearest", ties)
    assert not found.exact


def test_incomplete_shapes_under_an_m_silently_take_a_neighbours_config() -> None:
    table = nested("5", "1", {"64": nested("4096", "16", entry(16)), "128": nested("12288", "16", entry(128))})
    found = VLLM.resolve(table, shrink(m=128, k=4096))
    assert found.failure is None
    assert found.config == entry(128)
    assert [step.level for step in found.steps if step.match == "nearest"] == ["k"]


def test_missing_slices_are_a_key_error() -> None:
    found = VLLM.resolve(nested("5", {"1": {}, "2": {}}), shrink(num_slices=3))
    assert found.failure is not None
    assert (found.failure.error, found.failure.level, found.failure.key) == ("KeyError", "num_slices", "3")
    assert "1, 2" in found.failure.message
    assert found.key_path == ("5",)


@pytest.mark.parametrize("key", ["block_m", "block_n", "block_k", "split_k", "num_warps", "num_stages", "num_ctas"])
def test_missing_config_key_is_a_key_error(key: str) -> None:
    incomplete = {name: value for name, value in entry().items() if name != key}
    found = VLLM.resolve(nested(*VLLM.key_path(shrink()), incomplete), shrink())
    assert found.config is None
    assert found.failure is not None
    assert (found.failure.error, found.failure.level, found.failure.key) == ("KeyError", "config", key)


@pytest.mark.parametrize("key", ["split_k", "max_nreg", "group_size_m"])
def test_config_keys_that_expand_can_do_without(key: str) -> None:
    incomplete = {name: value for name, value in entry().items() if name != key}
    found = VLLM.resolve(nested(*VLLM.key_path(expand()), incomplete), expand())
    assert found.failure is None
    assert found.config == incomplete


def test_level_too_many_is_a_key_error() -> None:
    found = VLLM.resolve(nested(*VLLM.key_path(shrink()), "768", entry()), shrink())
    assert found.failure is not None
    assert (found.failure.error, found.failure.key) == ("KeyError", "block_m")
    assert "a level more" in found.failure.message


def test_level_missing_is_a_value_error() -> None:
    found = VLLM.resolve(nested("5", "1", "64", "4096", entry()), shrink())
    assert found.failure is not None
    assert (found.failure.error, found.failure.level, found.failure.key) == ("ValueError", "n", "block_m")


def test_metadata_key_hurts_only_without_the_exact_key() -> None:
    table = nested(*VLLM.key_path(shrink()), entry()) | {"triton_version": "3.6"}
    assert VLLM.resolve(table, shrink()).exact
    found = VLLM.resolve(table, shrink(max_loras=9))
    assert found.failure is not None
    assert (found.failure.error, found.failure.level, found.failure.key) == (
        "ValueError",
        "max_loras",
        "triton_version",
    )


def test_empty_value_counts_as_a_miss() -> None:
    only = VLLM.resolve(nested("5", "1", "64", {}), shrink())
    assert only.steps[2].skipped_empty
    assert only.failure is not None
    assert (only.failure.error, only.failure.level) == ("ValueError", "k")
    last = VLLM.resolve(nested("5", "1", "64", "4096", "16", {}), shrink())
    assert last.failure is not None
    assert (last.failure.error, last.failure.key) == ("KeyError", "block_m")
    other_spelling = {"064": nested("4096", "16", entry(16)), "64": {}}
    assert VLLM.resolve(nested("5", "1", other_spelling), shrink()).config == entry(16)


@pytest.mark.parametrize("content", [None, "{}", "[]", "null"])
def test_no_or_empty_file_means_the_default(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / VLLM.file_name(GPU, shrink())
    if content is not None:
        path.write_text(content)
    found = VLLM.lookup(tmp_path, GPU, shrink())
    assert (found.origin, found.config, found.path) == ("default", VLLM.default_config(shrink()), path)
    assert not found.exact


def test_malformed_file_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / VLLM.file_name(GPU, shrink())
    path.write_text('{"5": ')
    found = VLLM.lookup(tmp_path, GPU, shrink())
    assert found.failure is not None
    assert (found.failure.error, found.failure.level) == ("JSONDecodeError", "file")
    assert str(path) in found.failure.message


def test_needed_paths() -> None:
    m1, m2 = ("5", "1", "16", "4096", "16"), ("5", "1", "64", "12288", "16")
    assert VLLM.needed_paths([m1, m2]) == {
        *(m1, m2),
        *(("5", "1", "16", "12288", "16"), ("5", "1", "64", "4096", "16")),
    }
    assert VLLM.needed_paths([]) == set()


def test_needed_paths_are_pairs_not_products() -> None:
    paths = {("5", "1", "16", "4096", "16"), ("5", "1", "16", "12288", "8")}
    assert VLLM.needed_paths(paths) == paths


def test_needed_paths_cover_slices_that_another_max_loras_has() -> None:
    paths = {("5", "1", "16", "4096", "16"), ("5", "3", "64", "4096", "16"), ("9", "1", "16", "4096", "16")}
    assert VLLM.needed_paths(paths) == paths | {("9", "3", "64", "4096", "16")}


INTS = st.integers(1, 12).map(str)
ODD_KEYS = st.sampled_from(["04", " 8", "-1", "_meta", "block_m", ""])
LEAVES = st.one_of(
    st.integers(1, 9).map(entry), st.sampled_from([{}, None, 0, 7, "x", [], [1], {"block_m": 16}, {"3": entry()}])
)


def tables(depth: int) -> st.SearchStrategy[Any]:
    if depth == 0:
        return LEAVES
    keys = st.one_of(INTS, INTS, INTS, INTS, INTS, ODD_KEYS)
    plain = st.lists(st.tuples(keys, tables(depth - 1)), max_size=4).map(dict)
    return st.one_of(plain, plain, plain, plain, LEAVES)


WANTED = st.tuples(*[st.integers(1, 12)] * 5)


def oracle(table: Any, wanted: tuple[int, ...]) -> Any:
    """The server's lookup for shrink, written out by hand; returns the config or the name of the exception."""
    if not table:
        return VLLM.default_config(shrink(*wanted))
    here = table
    for level, value in enumerate(wanted):
        if level == 1:
            if isinstance(here, dict):
                if str(value) not in here:
                    return "KeyError"
                here = here[str(value)]
                continue
            return "TypeError"
        if not isinstance(here, dict):
            return "AttributeError"
        if str(value) in here and here[str(value)]:
            here = here[str(value)]
            continue
        if len(here) == 0:
            return "ValueError"
        ranked = []
        for position, key in enumerate(here):
            try:
                ranked.append((abs(value - int(key)), position, key))
            except ValueError:
                return "ValueError"
        here = here[sorted(ranked)[0][2]]
    if here is None:
        return "AssertionError"
    if not isinstance(here, dict):
        return "TypeError"
    return here if KEYS - {"max_nreg", "group_size_m"} <= set(here) else "KeyError"


@settings(max_examples=400)
@given(tables(5), WANTED)
@example({"1": 5}, (1, 1, 1, 1, 1))
@example({"1": {"1": {"2": {}, "1": {}}}}, (1, 1, 1, 1, 1))
def test_resolve_agrees_with_the_oracle(table: Any, wanted: tuple[int, ...]) -> None:
    found = VLLM.resolve(table, shrink(*wanted))
    outcome = found.failure.error if found.failure else found.config
    assert outcome == oracle(table, wanted)
    assert (found.config is None) == (found.failure is not None)
    if found.exact:
        assert found.key_path == tuple(map(str, wanted))


FULL_PATHS = st.sets(st.tuples(*[INTS] * 5), min_size=1, max_size=8)


@given(FULL_PATHS)
def test_needed_paths_make_every_known_shape_exact_in_k_and_n(paths: set[tuple[str, ...]]) -> None:
    needed = VLLM.needed_paths(paths)
    assert needed >= paths
    assert VLLM.needed_paths(needed) == needed
    table: dict[str, Any] = {}
    for path in needed:
        node = table
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = entry()
    for max_loras, num_slices, _, k, n in paths:
        for m in range(1, 13):
            found = VLLM.resolve(table, shrink(int(max_loras), int(num_slices), m, int(k), int(n)))
            assert [found.steps[level].match for level in (0, 1, 3, 4)] == ["exact"] * 4


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The environment of a server with a config folder, on a GPU named GPU."""
    monkeypatch.setenv("VLLM_TUNED_CONFIG_FOLDER", str(tmp_path))
    monkeypatch.delenv("VLLM_BATCH_INVARIANT", raising=False)
    monkeypatch.setattr(launching, "device_name", lambda *_: GPU)
    launching.cache_clear()
    yield tmp_path
    launching.cache_clear()


def write(folder: Path, call: Call, content: Any) -> None:
    (folder / VLLM.file_name(GPU, call)).write_text(json.dumps(content))


def current(call: Call) -> dict[str, int | None]:
    dims = dict(call.dims)
    add_inputs = dims.pop("add_inputs", None)
    return launching.dense_config(call.op, **dims, add_inputs=None if add_inputs is None else bool(add_inputs))


@pytest.mark.parametrize("call", [shrink(), expand()])
def test_dense_config_reads_the_folder_of_the_environment(server: Path, call: Call) -> None:
    write(server, call, nested(*VLLM.key_path(call), entry(128)))
    assert current(call) == entry(128)


def test_dense_config_without_a_folder_is_the_default(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(server, shrink(), nested(*VLLM.key_path(shrink()), entry(128)))
    monkeypatch.delenv("VLLM_TUNED_CONFIG_FOLDER")
    assert current(shrink()) == VLLM.default_config(shrink())


@pytest.mark.parametrize(("value", "ignores_the_file"), [("1", True), ("0", False), ("", False)])
def test_batch_invariant_servers_ignore_the_file(
    server: Path, monkeypatch: pytest.MonkeyPatch, value: str, ignores_the_file: bool
) -> None:
    write(server, shrink(), nested(*VLLM.key_path(shrink()), entry(128)))
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", value)
    expected = {**VLLM.default_config(shrink()), "split_k": 1} if ignores_the_file else entry(128)
    assert current(shrink()) == expected


def test_dense_config_is_cached_until_cleared(server: Path) -> None:
    assert current(shrink()) == VLLM.default_config(shrink())
    write(server, shrink(), nested(*VLLM.key_path(shrink()), entry(128)))
    assert current(shrink()) == VLLM.default_config(shrink())
    launching.cache_clear()
    assert current(shrink()) == entry(128)
    current(shrink()).clear()
    assert current(shrink()) == entry(128)


def test_dense_config_says_where_a_server_would_die(server: Path) -> None:
    write(server, shrink(), nested("5", "1", {}))
    with pytest.raises(InputError, match=r"H20_3e_SHRINK.json: at 5: has no num_slices 3"):
        current(shrink(num_slices=3))


def test_device_name_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no CUDA GPU"):
        device_name("VLLM_TUNED_CONFIG_FOLDER")
