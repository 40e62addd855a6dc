"""Files of two kernels are told apart, and zeros by which the plug-in leaves a call to another kernel."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.config.diff import differences
from autotune.config.entry_problem import Assumptions
from autotune.config.race import Bench, race
from autotune.contract.gpu import H200
from autotune.errors import InputError
from autotune.export.export import export
from autotune.servers import provenance, stand_back
from tests.builders import exports
from tests.builders.samples import VLLM_ENTRY
from tests.builders.tables import nested
from tests.conftest import Cli

SHRINK = exports.SHRINK
CSGMV = "csgmv_configs/triton_3_9_0/lora_shrink,K=1024,R=64,S=1,device=NVIDIA_H200.json"
CSGMV_ENTRY = {"BLOCK_N": 32, "BLOCK_K": 64, "num_warps": 4, "num_stages": 2}
ZEROS = "zeros, by which the plug-in leaves the call"


def tuned() -> None:
    """A folder with results of a server's kernel and of ours."""
    for source, block_m in (("vllm", 64), ("builtin", 32)):
        provenance_of = {"source": source, "kernel_fingerprint": f"hash of {source}"}
        item = replace(exports.item(block_m=block_m, study=source), provenance=provenance_of)
        export([replace(item, is_builtin=source == "builtin")], Path("tuned"))


def write(path: str, content: object) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(content))


def said(cli: Cli, flags: str) -> str:
    """What a command says, on one line."""
    done = cli(flags)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.mark.parametrize("sides", ["tuned tuned/autotune", f"tuned/{SHRINK} tuned/autotune/{SHRINK}"])
def test_files_of_two_kernels_are_told(cli: Cli, sides: str) -> None:
    tuned()
    a, b = sides.split()
    told = said(cli, f"config diff {sides}")
    kernels = f"{a} of the vllm kernel (sources hash of vllm) and {b} of the builtin kernel (sources hash of builtin)"
    assert f"Note: {SHRINK}: of two kernels, {kernels}" in told
    assert "block_m 64" in told and "block_m 32" in told
    found = json.loads(cli.ok(f"config diff {sides} --json"))
    assert {tuple(each["kernels"].values()) for each in found} == {("vllm", "builtin")}
    assert {each["file"] for each in found} == {SHRINK}, "what stands in the other side is not this side's"


def test_a_side_within_the_other_is_so_however_its_path_is_spelled(cli: Cli) -> None:
    tuned()
    spelled = ("tuned/autotune", Path("tuned/autotune").absolute(), "./tuned/../tuned/autotune")
    within = {cli.ok("config diff tuned --json", str(path)) for path in spelled}
    assert len(within) == 1
    assert "autotune/" not in within.pop()


def test_without_a_side_car_the_place_tells(cli: Cli) -> None:
    write(f"tuned/{SHRINK}", nested("5", "1", "64", "4096", "16", VLLM_ENTRY))
    write(f"tuned/autotune/{SHRINK}", nested("5", "1", "64", "4096", "16", stand_back.entry(VLLM_ENTRY)))
    told = said(cli, "config diff tuned tuned/autotune")
    assert "tuned of the server's own kernel and tuned/autotune of the plug-in's kernel" in told
    (found,) = json.loads(cli.ok("config diff tuned tuned/autotune --json"))
    assert found["left_to_another_kernel"] == {"a": False, "b": True}


def test_files_of_one_kernel_are_not(cli: Cli) -> None:
    tuned()
    write(f"other/{SHRINK}", nested("5", "1", "64", "4096", "16", VLLM_ENTRY))
    assert "two kernels" not in said(cli, "config diff tuned other")
    assert "two kernels" not in said(cli, "config diff tuned/autotune tuned/autotune")


@pytest.mark.parametrize(
    ("file", "keys", "entry"),
    [(SHRINK, ("5", "1", "64", "4096", "16"), VLLM_ENTRY), (CSGMV, ("16",), CSGMV_ENTRY)],
)
def test_zeros_are_words_where_the_plug_in_reads_them(
    cli: Cli, file: str, keys: tuple[str, ...], entry: dict[str, object]
) -> None:
    write(f"a/autotune/{file}", nested(*keys, entry))
    write(f"b/autotune/{file}", nested(*keys, stand_back.entry(entry)))
    for sides in ("a b", "a/autotune b/autotune"):
        told = said(cli, f"config diff {sides}")
        assert ZEROS in told
        first = next(iter(entry))
        assert f"{first} {entry[first]}" in told, "all of the other side is told"
        assert f"{first} 0" not in told
    write(f"c/{file}", nested(*keys, stand_back.entry(entry)))
    write(f"d/{file}", nested(*keys, entry))
    assert ZEROS not in said(cli, "config diff c d"), "a server launches with them"


def test_null_is_told_from_what_is_not_there(cli: Cli) -> None:
    write(f"a/{SHRINK}", nested("5", "1", "64", "4096", "16", {**VLLM_ENTRY, "max_nreg": None}))
    for value, words in (({"max_nreg": 64}, "max_nreg 64"), ({}, "no max_nreg")):
        entry = {name: each for name, each in VLLM_ENTRY.items() if name != "max_nreg"} | value
        write(f"b/{SHRINK}", nested("5", "1", "64", "4096", "16", entry))
        told = said(cli, "config diff a b")
        assert "max_nreg null" in told
        assert words in told


def test_a_server_can_be_named(cli: Cli) -> None:
    for side, warps in (("a", 4), ("b", 8)):
        write(f"{side}/{SHRINK}", nested("5", "1", "64", "4096", "16", {**VLLM_ENTRY, "num_warps": warps}))
        write(f"{side}/{CSGMV}", {"16": {**CSGMV_ENTRY, "num_warps": warps}})
    for server, file in (("vllm", SHRINK), ("sglang", CSGMV)):
        found = json.loads(cli.ok(f"config diff a b --json --runtime {server}"))
        assert [each["file"] for each in found] == [file]
    Path("a", CSGMV).unlink()
    done = cli("config diff a b --runtime sglang")
    assert done.exit_code == 2
    assert "--runtime sglang: a has no file of it" in done.stderr


def test_measuring_asks_whose_kernel_is_to_be_timed(cli: Cli) -> None:
    tuned()
    sides = Path("tuned"), Path("tuned/autotune")
    bench = Bench(H200, lambda subject: pytest.fail("timed"), rounds=1)
    outcomes = list(race(differences(*sides), sides, Assumptions({}), bench))
    assert outcomes
    assert all("the sides are of two kernels" in outcome.note for outcome in outcomes)


def test_measuring_does_not_launch_zeros(cli: Cli) -> None:
    for side, entry in (("a", VLLM_ENTRY), ("b", stand_back.entry(VLLM_ENTRY))):
        write(f"{side}/autotune/{SHRINK}", nested("5", "1", "64", "4096", "16", entry))
    sides = Path("a"), Path("b")
    bench = Bench(H200, lambda subject: pytest.fail("timed"), rounds=1)
    (outcome,) = race(differences(*sides), sides, Assumptions({}), bench)
    assert outcome.b is not None
    assert (outcome.b.config, outcome.b.message) == (None, stand_back.MEANING)


def test_a_broken_side_car_hides_nothing(cli: Cli) -> None:
    tuned()
    Path("tuned/autotune", provenance.FILE_NAME).write_text("{")
    assert "two kernels" in said(cli, "config diff tuned tuned/autotune")
    with pytest.raises(InputError):
        provenance.read(Path("tuned/autotune"))
