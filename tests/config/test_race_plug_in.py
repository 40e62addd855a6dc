"""What a side of the plug-in's files is raced with: without an entry that has a say, its kernel's own default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune.config.diff import differences
from autotune.config.entry_problem import Assumptions
from autotune.config.race import Bench, RacedDifference, RacedSide, race
from autotune.contract import Config, registry
from autotune.contract.gpu import H200
from autotune.measure.result import Measurement
from autotune.servers import provenance
from autotune.servers.provenance import Kind, Record
from tests.builders.samples import VLLM_ENTRY
from tests.builders.stand_in_backend import StandIn
from tests.builders.tables import nested

SHRINK = "NVIDIA_H200_SHRINK.json"
ALIGNED = "NVIDIA_H200_ALIGNED_MOE_LORA_W13.json"
CSGMV = "csgmv_configs/triton_3_6_0/lora_shrink,K=1024,R=64,S=3,device=NVIDIA_H200.json"
ENTRY = {"BLOCK_N": 64, "BLOCK_K": 64, "num_warps": 4, "num_stages": 3}
TILES = {"block_m": 64, "block_n": 64, "block_k": 64, "column_blocks": 1, "num_warps": 4, "num_stages": 3}
OTHER = {**ENTRY, "num_warps": 8}


class Alike(StandIn):
    """A backend on which all take as long."""

    def measure(self, config: Config, limit_us: float | None) -> Measurement:
        return Measurement("ok", (10.0,))

    def race(self, configs: Any, rounds: int) -> list[Measurement]:
        return [Measurement("ok", (10.0,) * rounds) for _ in configs]

    def close(self) -> None:
        pass


def write(folder: str, name: str, content: object, *records: Record) -> Path:
    path = Path(folder, "autotune", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    if records:
        Path(folder, "autotune", provenance.FILE_NAME).write_text(provenance.text(records))
    return Path(folder)


def record(workload: str | None, kind: Kind = "own", **more: Any) -> Record:
    problem = {"workload": workload} if workload else {}
    study = None if kind == "default-fill" else "a study"
    return Record(CSGMV, ("16",), kind, study, ENTRY, provenance={"source": "builtin", "problem": problem | more})


def raced(**flags: Any) -> RacedDifference:
    sides = Path("a"), Path("b")
    (found, *_) = race(differences(*sides), sides, Assumptions(flags), Bench(H200, lambda _: Alike(), rounds=9))
    return found


def side(found: RacedSide | None) -> RacedSide:
    assert found is not None
    return found


def own_default(found: RacedDifference) -> Config:
    assert found.subject is not None, found.note
    kernel = registry.load(found.subject.kernel)
    own = kernel.own_default(found.subject.problem, H200)
    assert own != kernel.default_config(found.subject.problem, H200)
    return {**kernel.default_config(found.subject.problem, H200)} if own is None else own


@pytest.mark.parametrize(
    ("name", "content", "nothing"),
    [
        (SHRINK, nested("5", "1", "16", "4096", "16", VLLM_ENTRY), {}),
        (SHRINK, nested("5", "1", "16", "4096", "16", VLLM_ENTRY), nested("5", "3", "16", "4096", "16", VLLM_ENTRY)),
        (CSGMV, {"16": ENTRY}, None),
        (CSGMV, {"16": ENTRY}, {"16": {"BLOCK_N": 64}}),
    ],
    ids=["empty", "a server would fail", "no file", "a broken entry"],
)
def test_without_an_entry_it_is_the_kernels_own_default(name: str, content: object, nothing: object) -> None:
    write("a", name, content)
    write("b", "other.json" if nothing is None else name, nothing)
    found = raced()
    assert side(found.b).origin == "plug-in's default"
    assert side(found.b).config == own_default(found)
    assert side(found.b).status == "ok"
    assert side(found.a).origin == "entry"


@pytest.mark.parametrize("place", ["a", "./a", "absolute"])
@pytest.mark.parametrize(
    ("timed", "raced_on", "by_default"),
    [
        (record("prefill"), "prefill", False),
        (record("prefill"), "decode", True),
        (record("decode"), "prefill", True),
        (record("mixed"), "decode", False),
        (record("mixed", decode_requests=[]), "decode", True),
        (record("prefill"), "mixed", False),
        (record(None), "decode", False),
        (record(None, "default-fill"), "decode", True),
        (record("prefill", "dropped"), "decode", False),
    ],
)
def test_an_entry_counts_for_what_it_was_timed_on(timed: Record, raced_on: str, by_default: bool, place: str) -> None:
    if timed.kind == "dropped":
        about = {**timed.provenance, "dropped": {"kind": "own", "config": ENTRY}}
        timed = Record(timed.file, timed.key, "dropped", timed.study, ENTRY, provenance=about)
    write("a", CSGMV, {"16": ENTRY}, timed)
    write("b", CSGMV, {"16": OTHER})
    found = raced(workload=raced_on)
    if by_default:
        assert side(found.a).origin == "plug-in's default"
        assert side(found.a).config == own_default(found)
        assert side(found.a).message
    else:
        assert side(found.a).config == {**ENTRY, "SEGMENTS": 1}
    assert side(found.b).config == {**OTHER, "SEGMENTS": 1}


@pytest.mark.parametrize(("block_m", "is_left"), [(128, True), (64, False)])
def test_experts_without_an_entry_may_be_left_to_the_server(block_m: int, is_left: bool) -> None:
    write("a", ALIGNED, nested("4", "2", "4096", "16", "2048", "768", {**TILES, "block_m": block_m}))
    write("b", "other.json", {})
    found = raced(num_experts=8, top_k_num=2, block_m=block_m)
    assert side(found.b).origin == "plug-in's default"
    assert (side(found.b).config is None) == is_left
    assert ("leaves it to the server's own kernel" in side(found.b).message) == is_left


def test_a_servers_own_kernel_has_the_servers_default(tmp_path: Path) -> None:
    for folder, content in (("a", {"16": ENTRY}), ("b", None)):
        path = Path(folder, CSGMV)
        path.parent.mkdir(parents=True)
        if content:
            path.write_text(json.dumps(content))
    found = raced()
    assert side(found.b).origin == "default"
    assert side(found.b).config != own_default(found)
