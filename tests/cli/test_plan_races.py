"""Token counts of a plan that are raced and not searched, from studies to files, on synthetic recordings."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from autotune import api
from autotune.api import runs
from autotune.contract import Call
from autotune.servers import provenance
from autotune.servers.vllm.server import VLLM
from tests.builders.recordings import write_machine, write_recording
from tests.builders.samples import write_recorded_model
from tests.conftest import Cli

PLAN = "--runtime vllm --lora-rank 16 --max-loras 4 --target-modules o_proj --m-values 16,64 --dtype float16"
TUNE = f"tune --backend replay --recorded recorded --save-json-dir tuned --model small {PLAN}"
SHRINK_US = {
    16: {16: 10.0, 32: 12.0, 64: 12.0},
    32: {16: 12.0, 32: 10.0, 64: 5.0},
    64: {16: 12.0, 32: 10.0, 64: 12.0},
}
"""Times by block_n: at 32 the winner of 64 is faster than that of 16, and the fastest config is no neighbour's."""


@pytest.fixture(autouse=True)
def _recorded() -> None:
    _record()


@pytest.fixture(scope="module")
def _tuned_once(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    with Cli.once(tmp_path_factory.mktemp("tuned")) as made:
        _record()
        made.ok(TUNE, "--all-m")
    return made


@pytest.fixture
def tuned(cli: Cli, _tuned_once: Cli) -> Cli:
    """Returns what is there after the model was tuned, with the size in between raced."""
    return cli.take(_tuned_once)


def _record() -> None:
    """Writes a model of one layer, recorded at two sizes to tune and one in between."""
    write_recorded_model(Path("small"))
    folder = Path("recorded")
    write_machine(folder)
    for m, times in SHRINK_US.items():
        names = ("block_k", "block_m", "block_n", "num_stages", "num_warps")
        base = {name: default("shrink", m)[name] for name in (*names, "split_k")}
        tuned = {**base, "block_k": 64, "split_k": 16, "num_warps": 8}
        rows = [({**tuned, "block_n": block_n}, us) for block_n, us in times.items()]
        write_recording(folder, f"vllm_shrink_M{m}_K5120_N16_L4_S1", [(base, 20.0), *rows])
        base = {name: default("expand", m)[name] for name in names}
        write_recording(folder, f"vllm_expand_M{m}_K16_N5120_L4_S1", [(base, 5.0), ({**base, "num_warps": 8}, 5.0)])


def call(op: str, m: int) -> Call:
    sizes = {"k": 5120, "n": 16} if op == "shrink" else {"k": 16, "n": 5120, "add_inputs": 1}
    return Call("vllm", op, {"max_loras": 5, "num_slices": 1, "m": m, **sizes})


def default(op: str, m: int) -> dict[str, int | None]:
    return dict(VLLM.default_config(call(op, m)))


def block_n(m: int) -> object:
    config = VLLM.lookup(Path("tuned"), "NVIDIA H200", call("shrink", m)).config
    return config and config["block_n"]


@pytest.mark.usefixtures("tuned")
def test_a_raced_size_has_the_best_of_what_its_neighbours_run() -> None:
    assert [block_n(m) for m in (16, 32, 64)] == [16, 32, 32]
    (record,) = [
        r for r in provenance.read(Path("tuned")) if r.key[2] == "32" and r.key[0] == "5" and r.key[3] == "5120"
    ]
    assert [name.split("-")[1] for name in record.provenance["raced_from"]] == ["m16", "m64"]
    assert sum(record.provenance["counts"].values()) == 3
    assert VLLM.lookup(Path("tuned"), "NVIDIA H200", call("expand", 32)).config == default("expand", 32)


def test_a_size_that_found_no_time_takes_the_nearest_ones_config(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RACES_S", 0.0)
    assert "2 races did not run, no time was left" in cli(TUNE, "--all-m").stderr
    assert [block_n(m) for m in (16, 32, 64)] == [16, 16, 32]
    monkeypatch.setattr(runs, "RACES_S", 120.0)
    cli.ok(TUNE, "--all-m --json-overwrite")
    assert block_n(32) == 32, "the same command goes on with the races"


def test_a_size_is_raced_for_all_shapes_or_for_none(cli: Cli) -> None:
    made = cli("study create --backend replay --recorded recorded --plan small", PLAN)
    names, plan = made.stdout.split(), made.stderr.split("--plan ")[1].split()[0]
    assert len(names) == 6
    cli.ok("study run --recorded recorded", *(name for name in names if "-m32-" not in name))
    cli.ok("study run --recorded recorded *shrink-m32*")
    cli.ok("study export --all-m --dir tuned --plan", plan)
    assert [block_n(m) for m in (16, 32, 64)] == [16, 16, 32], "the expand at 32 has not run"


def test_a_size_beside_which_nothing_was_searched_is_left_out(cli: Cli) -> None:
    made = cli("study create --backend replay --recorded recorded --plan small", PLAN)
    names = made.stdout.split()
    shrinks_and_all_at_32 = [name for name in names if "expand" not in name or "-m32-" in name]
    storage = api.open_storage("sqlite:///studies.db")
    chosen = [api.find_one(storage, name) for name in shrinks_and_all_at_32]
    raced = [name for name in names if "-m32-" in name]
    options = api.RunOptions("sqlite:///studies.db", recorded_dir=Path("recorded"))
    assert api.run(storage, chosen, options, api.Budget(4), raced=raced) == []
    assert {name: api.find_one(storage, name).result is None for name in raced} == {
        name: "expand" in name for name in raced
    }


def test_a_lookup_that_fails_keeps_no_file_from_the_others(cli: Cli) -> None:
    recording = Path("recorded/vllm_expand_M64_K16_N5120_L4_S1.csv.gz")
    recording.write_bytes(gzip.compress(gzip.decompress(recording.read_bytes()).replace(b",ok,", b",OutOfResources,")))
    tuned = cli(TUNE)
    assert tuned.exit_code == 1
    assert tuned.stderr.splitlines()[-1].startswith("Error: study lora_expand-m64-")
    assert [block_n(m) for m in (16, 64)] == [16, 32]


def test_a_raced_size_that_is_asked_for_later_is_searched(tuned: Cli) -> None:
    tuned.ok(TUNE.replace("16,64", "16,32,64"), "--all-m --json-overwrite")
    assert block_n(32) == 64


def test_a_plan_tells_what_is_raced(cli: Cli) -> None:
    shown = cli.ok("plan small", PLAN, "--from-tables")
    assert "Raced, the winners at the m beside and the default, two minutes at most: 1, 2, 4, 8, 24, 32" in shown
    assert "hold the server's default" not in shown
    assert json.loads(cli.ok("plan small", PLAN, "--from-tables --json"))["raced"][:4] == [1, 2, 4, 8]
