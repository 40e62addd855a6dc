"""What commands say of results of built-in kernels, which stand apart from what servers read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.cli import export_output
from autotune.contract.source import BUILTIN
from autotune.export.export import export
from tests.builders import exports
from tests.conftest import Cli

LOOKUP = "config lookup tuned --runtime vllm --op shrink --max-loras 4 --num-slices 1 --m 64 --k 4096 --n 16"


def write(source: str, block_m: int, folder: str = "tuned", is_builtin: bool | None = None) -> tuple[Path, ...]:
    apart = source == BUILTIN if is_builtin is None else is_builtin
    item = exports.item(block_m=block_m, study=source)
    return export([replace(item, provenance={"source": source}, is_builtin=apart)], Path(folder)).files


def test_check_descends_and_names_the_kernels(cli: Cli) -> None:
    write("builtin", 32)
    write("vllm", 64)
    said = cli("config check tuned --runtime vllm").stdout
    assert "autotune/NVIDIA_H200_SHRINK.json: timed on: builtin kernel" in said
    assert "\nNVIDIA_H200_SHRINK.json: timed on: vllm kernel" in said
    assert "2 files" in said
    found = json.loads(cli("config check tuned --runtime vllm --json").stdout)
    assert {(each["file"], each["kernel"]) for each in found} == {
        ("NVIDIA_H200_SHRINK.json", "vllm"),
        ("autotune/NVIDIA_H200_SHRINK.json", "builtin"),
    }


def test_check_warns_of_a_builtin_kernels_file_where_the_server_reads_it(cli: Cli) -> None:
    write("builtin", 32, is_builtin=False)
    found = json.loads(cli("config check tuned --runtime vllm --json").stdout)
    assert "built-in kernel's entries" in [each["defect"] for each in found]


@pytest.mark.parametrize("folder", ["tuned", "tuned/autotune"])
def test_check_of_builtin_results_alone_misses_no_served_file(cli: Cli, folder: str) -> None:
    write("builtin", 32)
    for server, defects in (("vllm", {"num_slices missing"}), ("sglang", {"folder name"})):
        found = json.loads(cli("config check", folder, "--json --runtime", server).stdout)
        assert {each["defect"] for each in found} == defects


def test_a_broken_side_car_is_a_finding(cli: Cli) -> None:
    write("vllm", 32)
    Path("tuned/autotune-provenance.json").write_text("{")
    found = json.loads(cli("config check tuned --runtime vllm --json").stdout)
    assert "side-car" in [each["defect"] for each in found]


def test_lookup_answers_for_both_kernels(cli: Cli) -> None:
    write("builtin", 32)
    found = json.loads(cli.ok(LOOKUP, "--json"))
    assert (found["origin"], found["kernel"]) == ("default", None)
    assert (found["builtin"]["config"]["block_m"], found["builtin"]["kernel"]) == (32, "builtin")
    write("vllm", 64)
    found = json.loads(cli.ok(LOOKUP, "--json"))
    assert (found["config"]["block_m"], found["kernel"]) == (64, "vllm")
    assert found["builtin"]["config"]["block_m"] == 32
    assert "This project's kernel" in cli.ok(LOOKUP)


def test_diff_names_the_kernel_of_each_side(cli: Cli) -> None:
    write("builtin", 32)
    write("vllm", 64, "other/autotune")
    found = json.loads(cli.ok("config diff tuned other --json"))
    assert found
    assert {(each["file"], *each["kernels"].values()) for each in found} == {
        ("autotune/NVIDIA_H200_SHRINK.json", "builtin", "vllm")
    }
    file = "NVIDIA_H200_SHRINK.json"
    (first, *_) = json.loads(cli.ok(f"config diff tuned/autotune/{file} other/autotune/{file} --json"))
    assert first["kernels"] == {"a": "builtin", "b": "vllm"}


def test_an_export_says_what_to_set_and_what_not() -> None:
    files = write("builtin", 32)
    told = " ".join(export_output.builtin_lines(files, Path("tuned")))
    assert f"LORA_AUTOTUNE_CONFIG_DIR={Path('tuned/autotune').resolve()}" in told
    assert "plug-in" in told
    assert "Leave VLLM_TUNED_CONFIG_FOLDER unset" in told
    assert "SGLANG" not in told
    assert export_output.serve_commands(files, Path("tuned")) == []
    beside = tuple(file.with_stem(f"{file.stem}_tuned_1") for file in files)
    assert export_output.builtin_lines(beside, Path("tuned")) == [], "nobody reads files that stand beside others"
    both = (*files, *write("vllm", 64))
    assert "Leave" not in " ".join(export_output.builtin_lines(both, Path("tuned")))
    assert len(export_output.serve_commands(both, Path("tuned"))) == 1
    again = " ".join(export_output.builtin_lines(files, Path("tuned")))
    assert "LORA_AUTOTUNE_CONFIG_DIR" in again
    assert "Leave" not in again, "files of the server's kernels, written before, are read by that variable"


def test_every_reader_of_files_tells_sources_and_compiler(cli: Cli, finished: Cli) -> None:
    """What was timed where, from the export to the lookup; `finished` replays recordings of an H200."""
    cli.ok("study export --dir tuned")
    exported = json.loads(cli.ok("study export --dir again --json"))
    checked = cli("config check tuned --runtime vllm").stdout
    assert "NVIDIA_H200_SHRINK.json: timed on: vllm kernel (sources recorded, Triton 3.6.0)" in checked
    (looked_up,) = json.loads(cli(LOOKUP.replace("--m 64 --k 4096", "--m 16 --k 5120"), "--json").stdout)["timed"]
    assert (looked_up["source"], looked_up["triton"]) == ("vllm", "3.6.0")
    assert [looked_up] in exported["timed"].values()
    for study in json.loads(cli.ok("study list --json")):
        assert (study["source_hash"], study["triton"]) == ("recorded", "3.6.0")
        best = json.loads(cli.ok("study best", study["name"], "--json"))
        assert (best["source_hash"], best["environment"]["triton"]) == ("recorded", "3.6.0")


def test_a_lookup_says_what_the_plug_in_makes_of_a_file_that_stops_a_server(cli: Cli) -> None:
    write("builtin", 32)
    write("vllm", 64)
    Path("tuned/autotune/NVIDIA_H200_SHRINK.json").write_text("{")
    said = cli(LOOKUP)
    assert said.exit_code == 1
    assert "the plug-in warns and runs its kernel's default: " in said.stdout
    assert "the server fails" not in said.stdout
    Path("tuned/autotune/NVIDIA_H200_SHRINK.json").unlink()
    assert "default: that of the plug-in's kernel, by the shape" in cli.ok(LOOKUP)
    assert json.loads(cli.ok(LOOKUP, "--json"))["builtin"]["config"] is None
