"""The study commands on recorded spaces: what they print, what they store, how they exit."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from autotune.cli.main import main

if TYPE_CHECKING:
    from tests.conftest import Cli

SHRINK = "lora_shrink-m16-k5120-n16-s1-l4-float16-NVIDIA_H200-replay"
EXPAND = "lora_expand-m16-k16-n5120-s1-l4-float16-NVIDIA_H200-replay"


def test_create_prints_the_names(cli: Cli) -> None:
    assert cli.ok("study create --backend replay", cli.SHRINK) == f"{SHRINK}\n"
    assert json.loads(cli.ok("study create --json", cli.EXPAND)) == [EXPAND]
    assert [s["name"] for s in json.loads(cli.ok("study list --json"))] == [SHRINK, EXPAND]


def test_create_makes_a_study_for_each_token_count(cli: Cli) -> None:
    flags = cli.SHRINK.replace("--batch-size 16", "--m-values 16")
    assert cli.ok("study create", flags) == f"{SHRINK}\n"


def test_a_tag_keeps_studies_apart(cli: Cli) -> None:
    cli.ok("study create", cli.SHRINK)
    assert cli.ok("study create --tag again", cli.SHRINK) == f"{SHRINK}-again\n"


def test_creating_what_exists_is_refused_with_the_way_out(cli: Cli) -> None:
    cli.ok("study create", cli.SHRINK)
    refused = cli("study create", cli.SHRINK)
    assert refused.exit_code == 2
    for way_out in (f"study run {SHRINK}", "--skip-if-exists", f"study delete {SHRINK}", "--tag"):
        assert way_out in refused.stderr
    assert cli.ok("study create --skip-if-exists", cli.SHRINK) == f"{SHRINK}\n"
    assert len(json.loads(cli.ok("study list --json"))) == 1


def test_run_finishes_every_unfinished_study(cli: Cli) -> None:
    for flags in (cli.SHRINK, cli.EXPAND):
        cli.ok("study create", flags)
    first = cli("study run --trials 3 --stop none --sampler random", EXPAND)
    assert first.exit_code == 0
    assert "recordings of NVIDIA H200" in first.stderr
    assert EXPAND in first.stdout
    assert SHRINK not in first.stdout
    second = cli.ok("study run --trials 3 --stop none --sampler random")
    assert SHRINK in second
    assert EXPAND not in second
    third = cli("study run")
    assert third.exit_code == 0
    assert "Nothing to run" in third.stderr


def test_globs_choose_studies(finished: Cli) -> None:
    assert len(json.loads(finished.ok("study list --json"))) == 2
    finished.ok("study export lora_sh* --dir tuned")
    assert [path.name for path in Path("tuned").glob("NVIDIA*")] == ["NVIDIA_H200_SHRINK.json"]


def test_list_tells_where_studies_stand(finished: Cli) -> None:
    finished.ok("study create --tag new", finished.SHRINK)
    listed = json.loads(finished.ok("study list --json"))
    assert [(s["name"], s["trials"] > 0) for s in listed] == [(SHRINK, True), (EXPAND, True), (f"{SHRINK}-new", False)]
    assert listed[2]["state"] == "new"
    assert all(s["state"] in ("tuned", "default") for s in listed[:2])
    table = finished.ok("study list")
    assert all(s["name"] in table and s["state"] in table for s in listed)


def test_list_of_an_empty_storage_is_empty(finished: Cli) -> None:
    for name in (SHRINK, EXPAND):
        finished.ok("study delete --yes", name)
    assert json.loads(finished.ok("study list --json")) == []
    assert "study create" in finished("study list").stderr


def test_show_has_problem_machine_result_and_trials(finished: Cli) -> None:
    data = json.loads(finished.ok("study show --json", EXPAND))
    assert data["spec"]["problem"]["n"] == 5120
    assert data["spec"]["backend"] == "replay"
    assert len(data["trials"]) == sum(data["result"]["counts"].values()) == 15
    text = finished.ok("study show", EXPAND)
    for part in (EXPAND, "recordings of NVIDIA H200", "triton 3.6.0", "block_m", "num_slices 1"):
        assert part in text


def test_show_tells_why_trials_failed(finished: Cli) -> None:
    trials = json.loads(finished.ok("study show --json", SHRINK))["trials"]
    assert all(trial["status"] in ("ok", "pruned", "out_of_resources") for trial in trials)
    assert all(trial["message"] for trial in trials if trial["status"] == "out_of_resources")


def test_best_prints_the_decision(finished: Cli) -> None:
    best = json.loads(finished.ok("study best --json", EXPAND))
    assert best["outcome"] in ("tuned", "default")
    assert set(best["config"]) == {"block_k", "block_m", "block_n", "num_stages", "num_warps"}
    lines = finished.ok("study best", EXPAND).splitlines()
    assert lines[0].startswith(EXPAND)
    assert f"block_m {best['config']['block_m']}" in lines[1]


def test_a_glob_that_matches_one_study_names_it(finished: Cli) -> None:
    assert finished.ok("study best lora_expand*").startswith(EXPAND)
    ambiguous = finished("study best lora*")
    assert ambiguous.exit_code == 2
    assert SHRINK in ambiguous.stderr


def test_best_of_an_unfinished_study_is_refused(cli: Cli) -> None:
    cli.ok("study create", cli.SHRINK)
    refused = cli("study best", SHRINK)
    assert refused.exit_code == 2
    assert f"study run {SHRINK}" in refused.stderr


def test_export_writes_what_the_server_loads(finished: Cli) -> None:
    report = json.loads(finished.ok("study export --json --csv all.csv --dir tuned"))
    names = {Path(file).name for file in report["files"]}
    assert names == {"NVIDIA_H200_SHRINK.json", "NVIDIA_H200_EXPAND_TRUE.json", "autotune-provenance.json"}
    table = json.loads(Path("tuned/NVIDIA_H200_SHRINK.json").read_text())
    entry = table["5"]["1"]["16"]["5120"]["16"]
    best = json.loads(finished.ok("study best --json", SHRINK))
    assert best["config"].items() <= entry.items()
    assert table["4"] == table["5"]


def test_export_says_that_times_were_replayed(finished: Cli) -> None:
    assert "recordings of NVIDIA H200" in finished("study export --dir tuned").stderr
    entries = json.loads(Path("tuned/autotune-provenance.json").read_text())["entries"]
    own = [entry["provenance"] for entry in entries if entry["kind"] == "own"]
    assert [(p["backend"], p["recording"]) for p in own] == [
        ("replay", "vllm_expand_M16_K16_N5120_L4_S1"),
        ("replay", "vllm_shrink_M16_K5120_N16_L4_S1"),
    ]


def test_export_says_how_to_serve(finished: Cli) -> None:
    assert f"VLLM_TUNED_CONFIG_FOLDER={Path('tuned').resolve()}" in finished.ok("study export --dir tuned")


def test_the_csv_has_every_measured_config(finished: Cli) -> None:
    finished.ok("study export --csv all.csv --dir tuned")
    with Path("all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["study"] for row in rows].count(EXPAND) == 15
    assert sum(row["status"] not in ("compile_error", "out_of_resources") for row in rows) == 30
    assert {row["study"] for row in rows} == {SHRINK, EXPAND}
    assert all(float(row["median_us"]) > 0 for row in rows if row["status"] == "ok")
    assert all(row["block_m"] for row in rows)


@pytest.mark.parametrize(("on_exist", "kept"), [("merge", True), ("overwrite", False)])
def test_export_into_an_existing_file(finished: Cli, on_exist: str, kept: bool) -> None:
    file = existing_file(Path("tuned"))
    finished.ok("study export --dir tuned --on-exist", on_exist)
    assert ("9" in json.loads(file.read_text())) is kept


def test_export_beside_an_existing_file(finished: Cli) -> None:
    file = existing_file(Path("tuned"))
    before = file.read_bytes()
    report = finished("study export --dir tuned --on-exist new")
    assert report.exit_code == 0
    assert file.read_bytes() == before
    assert file.with_name("NVIDIA_H200_SHRINK_tuned_1.json").exists()
    assert "no server reads this name" in report.stderr


def test_delete_asks_first(finished: Cli) -> None:
    refused = finished("study delete", SHRINK)
    assert refused.exit_code == 1
    assert SHRINK in finished.ok("study list")
    finished.ok("study delete --yes", SHRINK)
    assert SHRINK not in finished.ok("study list")


def test_delete_takes_globs_and_plans_and_says_what_it_would_delete(finished: Cli) -> None:
    asked = finished("study delete lora_*")
    assert "Delete these 2 studies with " in asked.stderr + asked.stdout
    assert all(name in asked.stderr for name in (SHRINK, EXPAND))
    assert finished("study delete --yes").exit_code == 2
    assert finished("study delete --yes --plan nothing").exit_code == 2
    finished.ok("study delete --yes lora_*")
    assert json.loads(finished.ok("study list --json")) == []


def test_list_filters_by_name_and_state(finished: Cli) -> None:
    finished.ok("study create --tag new", finished.SHRINK)
    assert [s["name"] for s in json.loads(finished.ok("study list --json lora_e*"))] == [EXPAND]
    assert [s["name"] for s in json.loads(finished.ok("study list --json --state new"))] == [f"{SHRINK}-new"]
    assert "None of 3 studies is started." in finished("study list --state started").stderr
    assert finished("study list --plan nothing").exit_code == 2


def test_more_takes_a_finished_study_further(finished: Cli) -> None:
    before = {s["name"]: s for s in json.loads(finished.ok("study list --json"))}
    finished.ok("study run --more 7", EXPAND, "--sampler random")
    found = {s["name"]: s for s in json.loads(finished.ok("study list --json"))}
    assert found[SHRINK]["trials"] == before[SHRINK]["trials"]
    assert found[EXPAND]["trials"] == before[EXPAND]["trials"] + 7
    assert found[EXPAND]["state"] in ("tuned", "default")


@pytest.mark.parametrize("command", ["show", "best", "delete --yes"])
def test_an_unknown_study_is_named_with_those_there_are(finished: Cli, command: str) -> None:
    refused = finished(f"study {command} lora_shrinc")
    assert refused.exit_code == 2
    assert "'lora_shrinc'" in refused.stderr
    assert EXPAND in refused.stderr


COMMANDS = [
    "",
    "study",
    *(f"study {name}" for name in ("create", "run", "list", "show", "best", "export", "delete")),
    "tune",
    "doctor",
    "dashboard",
    "bench",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_reads_well(cli: Cli, command: str) -> None:
    text = cli.ok(command, "--help")
    assert "..." not in text.partition("Commands:")[2], "a summary is cut"
    assert max(map(len, text.splitlines())) <= 100
    assert all(line == line.rstrip() for line in text.splitlines())


def test_the_version_is_told(cli: Cli) -> None:
    from autotune import __version__

    assert __version__ in cli.ok("--version")


def test_tables_have_no_trailing_blanks(finished: Cli) -> None:
    for command in ("study list", f"study show {EXPAND}", "doctor"):
        assert all(line == line.rstrip() for line in finished.ok(command).splitlines())


def test_a_study_that_fails_does_not_keep_the_others_from_running(cli: Cli) -> None:
    copy_recordings(Path("own"))
    spoil(Path("own/vllm_shrink_M16_K5120_N16_L4_S1.csv.gz"))
    for flags in (cli.SHRINK, cli.EXPAND):
        cli.ok("study create --recorded own", flags)
    done = cli("study run --recorded own --trials 3 --sampler random")
    assert done.exit_code == 1
    assert f"Error: study {SHRINK}: no config ran correctly, not even the default" in done.stderr
    assert EXPAND in done.stdout
    listed = {item["name"]: item["state"] for item in json.loads(cli.ok("study list --json"))}
    assert listed[SHRINK] == "started"
    assert listed[EXPAND] in ("tuned", "default")
    assert "OutOfResources" in cli.ok("study show", SHRINK)


def copy_recordings(folder: Path) -> None:
    from autotune.measure.recording import RECORDED_DIR

    folder.mkdir()
    for file in [*RECORDED_DIR.glob("vllm_*_M16_*"), RECORDED_DIR / "machine.toml"]:
        shutil.copy(file, folder)


def spoil(recording: Path) -> None:
    """Lets all of the first few configs fail, and leaves the others out."""
    lines = gzip.decompress(recording.read_bytes()).decode().splitlines()[:6]
    recording.write_bytes(gzip.compress("\n".join(line.replace(",ok,", ",OutOfResources,") for line in lines).encode()))


def existing_file(folder: Path) -> Path:
    """Returns a config file with an entry of another max_loras."""
    config: dict[str, Any] = {"block_m": 32, "block_n": 16, "block_k": 64, "split_k": 8, "num_warps": 4}
    config |= {"num_ctas": 1, "num_stages": 2, "max_nreg": None, "group_size_m": 8}
    folder.mkdir()
    file = folder / "NVIDIA_H200_SHRINK.json"
    file.write_text(json.dumps({"9": {"1": {"16": {"5120": {"16": config}}}}}))
    return file


@pytest.mark.parametrize("tag", ["a b", "a/b", "a\\b", "a\x1bb"])
def test_a_tag_that_breaks_names_is_refused(cli: Cli, tag: str) -> None:
    arguments = ["study", "create", "--backend", "replay", "--tag", tag, *cli.SHRINK.split()]
    refused = CliRunner(env=cli.env).invoke(main, arguments)
    assert refused.exit_code == 2
    assert "--tag: got" in refused.stderr


def test_a_storage_that_is_a_file_is_told_its_url(cli: Cli) -> None:
    assert "sqlite:///studies.db" in cli("study list --storage studies.db").stderr


def test_run_on_an_empty_storage_says_so(finished: Cli) -> None:
    finished.ok("study delete --yes lora_*")
    assert "no studies yet" in finished("study run").stderr


def test_a_replay_that_is_refused_says_nothing_of_recorded_times(cli: Cli) -> None:
    cli.ok("study create --backend replay", cli.SHRINK)
    refused = cli("study run --backend cuda")
    assert refused.exit_code != 0
    assert "Replay:" not in refused.stderr
