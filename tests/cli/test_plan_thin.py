"""Token counts that a plan's export leaves out, from studies to checked files, on synthetic recordings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.contract import Call
from autotune.run.neighbours import Neighbourhood
from autotune.servers import files, provenance
from autotune.servers.vllm import facts
from autotune.servers.vllm.captures import capture_sizes
from autotune.servers.vllm.server import VLLM
from autotune.servers.vllm.sizes import auto_m_values
from autotune.study import studies
from autotune.study.storage import open_storage
from tests.builders.recordings import write_machine, write_recording
from tests.builders.samples import write_recorded_model
from tests.conftest import Cli

SERVER = "--runtime vllm --lora-rank 16 --max-loras 4 --target-modules o_proj"
PLAN = f"{SERVER} --m-values 16,32,64,128 --dtype float16"
NAME = "small-vllm-tp1-r16-l4-float16-3d03e5"
ALL = [16, 32, 64, 128]
LADDER = list(auto_m_values(capture_sizes(256, 8192), 8192))
SHRINK_US = {
    16: {16: 10.0, 32: 10.2},
    32: {16: 10.15, 32: 10.0},
    64: {16: 13.0, 32: 10.0},
    128: {16: 13.0, 32: 10.0},
}
"""Times by block_n. At 32 the winner of 16 is 1.5% slower than its own; 128 is served by 64."""

KEPT = [4, 16, 64, 256]
"""Of the shrinks: 4 and 256 hold the defaults of what the plan does not tune."""


@pytest.fixture(scope="module")
def _planned_once(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    with Cli.once(tmp_path_factory.mktemp("planned")) as made:
        _record()
        made.ok("study create --backend replay --recorded recorded --plan small", PLAN)
        made.ok("study run --recorded recorded --plan", NAME)
    return made


@pytest.fixture
def planned(cli: Cli, _planned_once: Cli) -> Cli:
    """Returns the finished studies of a plan of one layer."""
    return cli.take(_planned_once)


def _record() -> None:
    write_recorded_model(Path("small"))
    folder = Path("recorded")
    write_machine(folder)
    for m in ALL:
        names = ("block_k", "block_m", "block_n", "num_stages", "num_warps")
        dims = {"max_loras": 5, "num_slices": 1, "m": m, "k": 5120, "n": 16}
        default = VLLM.default_config(Call("vllm", "shrink", dims))
        base = {name: default[name] for name in (*names, "split_k")}
        tuned = {**base, "block_k": 64, "split_k": 16, "num_warps": 8}
        rows = [({**tuned, "block_n": block_n}, us) for block_n, us in SHRINK_US[m].items()]
        write_recording(folder, f"vllm_shrink_M{m}_K5120_N16_L4_S1", [(base, 20.0), *rows])
        default = VLLM.default_config(Call("vllm", "expand", {**dims, "k": 16, "n": 5120, "add_inputs": 1}))
        base = {name: default[name] for name in names}
        write_recording(folder, f"vllm_expand_M{m}_K16_N5120_L4_S1", [(base, 5.0), ({**base, "num_warps": 8}, 5.0)])


def m_keys(folder: str, op: str) -> list[int]:
    table = files.read_table(Path(folder, f"NVIDIA_H200_{op}.json"), facts.DENSE_LEVELS)
    assert {path[0] for path in table} == {"4", "5"}
    return sorted({int(path[2]) for path in table})


def test_the_export_of_a_plan_leaves_out_the_m_that_the_nearest_serves(planned: Cli) -> None:
    done = planned("study export --dir tuned --plan", NAME)
    assert done.exit_code == 0
    assert "m: 12 looked up, 1 to 4 written (nearest of these costs at most 1.5%)" in done.stdout
    assert "num_slices" not in done.stderr
    assert (m_keys("tuned", "SHRINK"), m_keys("tuned", "EXPAND_TRUE")) == (KEPT, [8192])
    dropped = [r for r in provenance.read(Path("tuned")) if r.kind == "dropped" and "SHRINK" in r.file and r.study]
    assert {r.key[2]: r.provenance["dropped"]["largest_loss"] for r in dropped} == {"32": 0.015, "128": 0.0}
    assert "0 findings" in planned.ok("config check tuned --model small --m-values 16,32,64,128", SERVER)
    assert '"block_n": 16' in planned.ok(
        "config lookup tuned --json --runtime vllm --op shrink --max-loras 4 --m 32 --k 5120 --n 16 --num-slices 1"
    )


def test_all_m_keeps_them_and_brings_them_back(planned: Cli) -> None:
    planned.ok("study export --dir tuned --plan", NAME)
    assert "measured" not in planned.ok("study export --all-m --dir tuned --plan", NAME)
    assert m_keys("tuned", "SHRINK") == m_keys("tuned", "EXPAND_TRUE") == LADDER
    data = json.loads(planned.ok("study export --json --dir tuned --plan", NAME))
    found = data["m"][0]
    assert (found["file"], found["max_loras"], found["num_slices"]) == ("NVIDIA_H200_SHRINK.json", 4, 1)
    assert found["written"] == KEPT
    assert found["dropped"]["32"] == {"nearest": 16, "largest_loss": 0.015}
    assert found["dropped"]["128"] == {"nearest": 64, "largest_loss": 0.0}
    assert not data["warnings"]


def test_tune_of_a_model_leaves_them_out_too(planned: Cli) -> None:
    command = ("tune --backend replay --recorded recorded --save-json-dir", Path("tuned"), f"--model small {PLAN}")
    planned.ok(*command)
    assert m_keys("tuned", "SHRINK") == KEPT
    planned.ok(*command, "--all-m --json-overwrite")
    assert m_keys("tuned", "SHRINK") == LADDER


def test_an_m_that_was_not_planned_is_served_by_the_default(planned: Cli) -> None:
    planned.ok("study export --dir tuned --plan", NAME)
    for m in (1, 4, 512, 3000, 8192):
        dims = {"max_loras": 5, "num_slices": 1, "m": m, "k": 5120, "n": 16}
        call = Call("vllm", "shrink", dims)
        assert VLLM.lookup(Path("tuned"), "NVIDIA H200", call).config == VLLM.default_config(call)


@pytest.mark.usefixtures("planned")
def test_other_exports_keep_all(cli: Cli) -> None:
    cli.ok("study export --dir tuned")
    assert m_keys("tuned", "SHRINK") == ALL
    for command in ("study export --dir tuned --all-m", f"tune --all-m {cli.SHRINK}"):
        done = cli(command)
        assert done.exit_code == 2
        assert "--all-m: is about a" in done.stderr


def test_the_winner_of_the_nearest_m_is_known_to_the_search(planned: Cli) -> None:
    """However near other shapes are."""
    write_machine(Path("recorded"))
    base = {"block_k": 64, "block_m": 32, "block_n": 16, "num_stages": 2, "num_warps": 4, "split_k": 16}
    for k in (5000, 5040, 5080):
        write_recording(
            Path("recorded"), f"vllm_shrink_M32_K{k}_N16_L4_S1", [(base, 1.0), ({**base, "num_warps": 8}, 2)]
        )
        flags = f"--op-type lora_shrink --batch-size 32 --hidden-size {k} --lora-rank 16 --num-loras 4"
        planned.ok("study create --backend replay --recorded recorded", flags)
    planned.ok("study run --recorded recorded")
    storage = open_storage(planned.url)
    names = studies.names(storage)
    study = studies.load(storage, next(name for name in names if name.startswith("lora_shrink-m32-k5120")))
    near = Neighbourhood(storage).of(study)
    assert [neighbour.sizes["k"] for neighbour in near] == [5080, 5040, 5120]
    assert near[-1].sizes["m"] in (16, 64)
    same = studies.load(storage, next(n for n in names if f"lora_shrink-m{near[-1].sizes['m']}-k5120" in n))
    assert same.result is not None
    assert near[-1].winner is not None
    assert near[-1].winner.items() >= same.result.decision.config.items()
