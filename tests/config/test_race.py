"""Which side of a difference is faster: what a server launches with each, timed by a stand-in for the GPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from autotune.config.diff import differences
from autotune.config.entry_problem import Assumptions
from autotune.config.race import Bench, RacedDifference, race
from autotune.contract import Config
from autotune.contract.gpu import H200
from autotune.measure.result import Measurement
from autotune.servers import provenance
from tests.builders.counted_reads import counted_reads
from tests.builders.samples import VLLM_ENTRY
from tests.builders.stand_in_backend import StandIn

if TYPE_CHECKING:
    from tests.conftest import Cli

ROUNDS = 40
SHRINK = "NVIDIA_H200_SHRINK.json"
EXPAND = "NVIDIA_H200_EXPAND_TRUE.json"
CSGMV = "csgmv_configs/triton_3_6_0/lora_{},device=NVIDIA_H200.json"
W13 = "NVIDIA_H200_FUSED_MOE_LORA_W13_SHRINK.json"
ONE = Path("one")
OTHER = Path("other")

Script = Callable[[Config], Measurement]


def timed(time_us: float, seed: int = 0, noise: float = 0.01) -> Measurement:
    samples = time_us * np.exp(noise * np.random.default_rng(seed).standard_normal(ROUNDS))
    return Measurement("ok", tuple(samples.tolist()))


def by_warps(config: Config) -> Measurement:
    """8 warps are a fifth faster than 4; 2 do not fit, and 1 computes nonsense; the others are all alike."""
    failures: Mapping[Any, Measurement] = {
        2: Measurement("out_of_resources", message="out of resource: shared memory"),
        1: Measurement("wrong_result", message="error is 3 times the largest"),
    }
    warps = config["num_warps"]
    return failures.get(warps) or timed(8 if warps == 8 else 10, seed=config.get("num_stages") or 0)


class Scripted(StandIn):
    """A backend that times by script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.races: list[list[dict[str, Any]]] = []
        self.closed = 0

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        return self.script(config)

    def race(self, configs: Sequence[Config], rounds: int) -> list[Measurement]:
        assert rounds == ROUNDS
        self.races.append([dict(config) for config in configs])
        return [self.script(config) for config in configs]

    def close(self) -> None:
        self.closed += 1


def write(folder: Path, name: str, content: object) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def shrink(**by_m: object) -> dict[str, object]:
    """A file of vLLM's with entries for m16, m32, ..."""
    return {"5": {"1": {m.removeprefix("m"): {"4096": {"16": config}} for m, config in by_m.items()}}}


def measured(
    assumed: Mapping[str, Any] | None = None, script: Script = by_warps
) -> tuple[list[RacedDifference], Scripted]:
    backend = Scripted(script)
    bench = Bench(H200, lambda subject: backend, ROUNDS)
    found = differences(ONE, OTHER)
    return list(race(found, (ONE, OTHER), Assumptions(assumed or {}), bench)), backend


def only(assumed: Mapping[str, Any] | None = None, script: Script = by_warps) -> RacedDifference:
    outcomes, _ = measured(assumed, script)
    assert len(outcomes) == 1
    return outcomes[0]


@pytest.mark.parametrize(("a", "b", "faster"), [(4, 8, "b"), (8, 4, "a")])
def test_the_faster_side(a: int, b: int, faster: str) -> None:
    write(ONE, SHRINK, shrink(m16={**VLLM_ENTRY, "num_warps": a}))
    write(OTHER, SHRINK, shrink(m16={**VLLM_ENTRY, "num_warps": b}))
    (outcome,), backend = measured()
    assert outcome.faster == faster
    assert outcome.gain == pytest.approx(0.2, abs=0.02)
    assert outcome.subject is not None
    assert outcome.subject.problem.label == "m16-k4096-n16-s1-l4-float16"
    assert [config["num_warps"] for config in backend.races[0]] == [a, b]
    assert "max_nreg" not in backend.races[0][0]
    assert backend.closed == 1


def test_the_side_cars_are_read_as_often_for_many_differences_as_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    reads = counted_reads(monkeypatch)
    for sizes in (("m16",), ("m16", "m32", "m64")):
        for folder, warps in ((ONE, 4), (OTHER, 8)):
            write(folder, SHRINK, shrink(**{size: {**VLLM_ENTRY, "num_warps": warps} for size in sizes}))
            write(folder, provenance.FILE_NAME, {"schema_version": provenance.SCHEMA_VERSION, "entries": []})
        reads.clear()
        outcomes, _ = measured()
        assert len(outcomes) == len(sizes)
        counts.append(reads[provenance.FILE_NAME])
    assert counts[0] == counts[1]


def test_a_difference_inside_the_noise_is_none() -> None:
    write(ONE, SHRINK, shrink(m16=VLLM_ENTRY))
    write(OTHER, SHRINK, shrink(m16={**VLLM_ENTRY, "num_stages": 3}))
    outcome = only()
    assert outcome.faster == "same"
    assert outcome.gain == 0
    assert outcome.a is not None
    assert outcome.a.time_us == pytest.approx(10, rel=0.01)


def test_configs_of_one_launch_are_not_raced() -> None:
    """vLLM passes max_nreg to no kernel, and num_stages is forced for an expand on Hopper."""
    write(ONE, EXPAND, {"5": {"1": {"16": {"16": {"4096": VLLM_ENTRY}}}}})
    write(OTHER, EXPAND, {"5": {"1": {"16": {"16": {"4096": {**VLLM_ENTRY, "max_nreg": 64, "num_stages": 4}}}}}})
    (outcome,), backend = measured()
    assert outcome.faster == "same"
    assert not backend.races


@pytest.mark.parametrize(
    ("other", "origin", "key"),
    [
        (shrink(m32={**VLLM_ENTRY, "num_warps": 8}), "nearest", ("5", "1", "32", "4096", "16")),
        ({}, "default", ()),
        (None, "default", ()),
        ({"5": {"3": {"16": {"4096": {"16": VLLM_ENTRY}}}}}, "none", ("5",)),
    ],
)
def test_a_missing_side_is_what_the_server_takes_instead(other: object, origin: str, key: tuple[str, ...]) -> None:
    write(ONE, SHRINK, shrink(m16=VLLM_ENTRY))
    OTHER.mkdir()
    if other is not None:
        write(OTHER, SHRINK, other)
    outcomes, _ = measured()
    outcome = next(o for o in outcomes if o.difference.key == ("5", "1", "16", "4096", "16"))
    assert outcome.b is not None
    assert (outcome.b.origin, outcome.b.key) == (origin, key)
    if origin == "none":
        assert outcome.faster is None
        assert outcome.b.status == "refused"
        assert "KeyError" in outcome.b.message
    else:
        assert outcome.faster == ("b" if origin == "nearest" else "same")


def test_sglang_takes_another_tritons_file() -> None:
    name = CSGMV.format("shrink,K=1024,R=16,S=3")
    write(ONE, name, {"16": {"BLOCK_N": 16, "BLOCK_K": 64, "num_warps": 4}})
    write(OTHER, name.replace("3_6_0", "3_5_0"), {"16": {"BLOCK_N": 16, "BLOCK_K": 64, "num_warps": 8}})
    outcomes, _ = measured()
    newer = next(o for o in outcomes if "3_6_0" in o.difference.file)
    assert newer.b is not None
    assert newer.b.origin == "other file"
    assert newer.b.config == {"BLOCK_N": 16, "BLOCK_K": 64, "num_warps": 8, "num_stages": None, "SEGMENTS": 1}
    assert newer.faster == "b"


@pytest.mark.parametrize(("warps", "status"), [(2, "out_of_resources"), (1, "wrong_result")])
def test_a_failure_is_shown(warps: int, status: str) -> None:
    write(ONE, SHRINK, shrink(m16=VLLM_ENTRY))
    write(OTHER, SHRINK, shrink(m16={**VLLM_ENTRY, "num_warps": warps}))
    outcome = only()
    assert outcome.faster is None
    assert outcome.b is not None
    assert outcome.b.status == status
    assert outcome.b.note
    assert outcome.a is not None
    assert outcome.a.time_us is not None


@pytest.mark.parametrize("bad", [{"block_m": 8}, {"block_m": None}, {"num_stages": "2"}])
def test_a_config_that_no_kernel_takes(bad: dict[str, Any]) -> None:
    write(ONE, SHRINK, shrink(m16=VLLM_ENTRY))
    write(OTHER, SHRINK, shrink(m16={**VLLM_ENTRY, **bad}))
    (outcome,), backend = measured()
    assert outcome.b is not None
    assert outcome.b.status == "refused"
    assert next(iter(bad)) in outcome.b.message
    assert not backend.races


def test_an_entry_that_cannot_be_measured_stands_beside_those_that_can() -> None:
    for folder, warps in ((ONE, 4), (OTHER, 8)):
        write(folder, SHRINK, shrink(m16={**VLLM_ENTRY, "num_warps": warps}))
        entry = {"16": {"BLOCK_N": 64, "BLOCK_K": 16, "num_warps": warps}}
        write(folder, CSGMV.format("expand,K=6144,R=16,S=3"), entry)
        write(folder, W13, {"4": {"2": {"16": {"16": {"2048": {"768": {"block_m": 4 * warps}}}}}}})
    found = {Path(o.difference.file).name.partition(",")[0]: o for o in measured()[0]}
    assert found["lora_expand"].subject is None
    assert "--slice-widths" in found["lora_expand"].note
    assert "--num-experts" in found[W13].note
    assert found[SHRINK].faster == "b"


def test_experts_are_measured_by_the_kernel_that_the_server_runs() -> None:
    """Only block_m is live in the one-shot kernel, and names may be in capitals."""
    for folder, name, rows in ((ONE, "block_m", 16), (OTHER, "BLOCK_SIZE_M", 64)):
        entry = {name: rows, "num_warps": rows // 16}
        write(folder, W13, {"4": {"2": {"64": {"16": {"2048": {"768": entry}}}}}})
    outcome = only({"num_experts": 8, "top_k_num": 2}, lambda config: timed(100 / (config["block_m"] or 1)))
    assert outcome.subject is not None
    assert outcome.subject.kernel == "fused_moe_lora_gate_up_one_shot"
    assert outcome.b is not None
    assert outcome.b.config == {"block_m": 64}
    assert "silently takes" in outcome.b.message
    assert outcome.faster == "b"


def test_the_plug_ins_experts_are_measured_with_the_block_m_that_the_server_aligns_to() -> None:
    name = "autotune/NVIDIA_H200_ALIGNED_MOE_LORA_W13.json"
    tiles = {"block_n": 64, "block_k": 64, "column_blocks": 1, "num_warps": 4, "num_stages": 3}
    for folder, rows in ((ONE, 64), (OTHER, 32)):
        write(folder, name, {"4": {"2": {"64": {"16": {"2048": {"768": {"block_m": rows, **tiles}}}}}}})
    experts = {"num_experts": 8, "top_k_num": 2}
    assert "pass --block-m" in only(experts).note
    outcome = only({**experts, "block_m": 64})
    assert outcome.a and outcome.a.config == {"block_m": 64, **tiles}
    assert outcome.b and outcome.b.config is None
    assert "rows are aligned to 64" in outcome.b.message
    assert outcome.faster is None


def test_faster_in_the_mean_but_not_everywhere() -> None:
    def script(config: Config) -> Measurement:
        quick, slow = timed(8), timed(11)
        if config["num_warps"] == 4:
            quick = slow = timed(10)
        return Measurement(
            "ok", quick.samples_us, workloads_us={"prefill": quick.samples_us, "decode": slow.samples_us}
        )

    write(ONE, SHRINK, shrink(m16=VLLM_ENTRY))
    write(OTHER, SHRINK, shrink(m16={**VLLM_ENTRY, "num_warps": 8}))
    assert only(script=script).faster == "mixed"


def test_two_files_by_the_name_of_either(tmp_path: Path) -> None:
    write(ONE, SHRINK, shrink(m16=VLLM_ENTRY))
    write(OTHER, "kept.json", shrink(m16={**VLLM_ENTRY, "num_warps": 8}))
    sides = (ONE / SHRINK, OTHER / "kept.json")
    for a, b in (sides, sides[::-1]):
        bench = Bench(H200, lambda subject: Scripted(by_warps), ROUNDS)
        (outcome,) = race(differences(a, b), (a, b), Assumptions({}), bench)
        assert outcome.faster == ("b" if b.name == "kept.json" else "a")


class TestCommand:
    @pytest.fixture
    def machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        @contextmanager
        def stand_in() -> Iterator[Bench]:
            yield Bench(H200, lambda subject: Scripted(by_warps), ROUNDS)

        monkeypatch.setattr("autotune.config.race.this_machine", stand_in)

    @pytest.fixture
    def folders(self) -> None:
        write(ONE, SHRINK, shrink(m16=VLLM_ENTRY, m32=VLLM_ENTRY))
        write(OTHER, SHRINK, shrink(m16={**VLLM_ENTRY, "num_warps": 8}))
        write(OTHER, "NVIDIA_L40S_SHRINK.json", shrink(m16={**VLLM_ENTRY, "num_warps": 2}))

    @pytest.mark.usefixtures("machine", "folders")
    def test_as_a_table(self, cli: Cli) -> None:
        said = cli.ok("config diff one other --measure --dtype bfloat16 --sort-by-lora-id 0")
        faster, nearest, foreign = said.splitlines()[1:4]
        assert "num_warps 8" in faster
        assert "m16-k4096-n16-s1-l4-bfloat16-unsorted" in faster
        assert "20%" in faster
        assert "b: no entry, the server takes 5/1/16/4096/16" in nearest
        assert "a: no entry, the server takes its default" in foreign
        assert "out_of_resources" in foreign
        assert "the file is for NVIDIA_L40S, measured on NVIDIA H200" in foreign
        assert "measured with: dtype bfloat16; active_loras all; sort_by_lora_id False." in said
        assert "3 entries differ." in said

    @pytest.mark.usefixtures("machine", "folders")
    def test_as_json(self, cli: Cli) -> None:
        data = json.loads(cli.ok("config diff one other --measure --json"))
        first = data[0]["measured"]
        assert data[0]["key"] == ["5", "1", "16", "4096", "16"]
        assert (first["kernel"], first["problem"]["max_loras"]) == ("lora_shrink", 4)
        assert (first["faster"], first["a"]["status"], first["b"]["config"]["num_warps"]) == ("b", "ok", 8)
        assert first["a"]["us"] > first["b"]["us"]
        assert data[1]["measured"]["b"]["origin"] == "nearest"

    @pytest.mark.usefixtures("folders")
    @pytest.mark.parametrize(
        ("flags", "part"),
        [("--measure", "--measure: no CUDA GPU here; leave it out"), ("--num-experts 8", "--num-experts")],
    )
    def test_misuse(self, cli: Cli, monkeypatch: pytest.MonkeyPatch, flags: str, part: str) -> None:
        monkeypatch.setattr("autotune.config.race.cuda_available", lambda: False)
        done = cli("config diff one other", flags)
        assert done.exit_code == 2
        assert part in done.stderr
        assert done.stderr.count("\n") == 1
