"""Bad input: one line that says what, got, allowed and what next; exit code 2; nothing written."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.builders.samples import RECORDED_MODEL

if TYPE_CHECKING:
    from click.testing import Result

    from tests.conftest import Cli

ROOT = Path(__file__).parents[2]
FLAGS = {
    "--op-type": "lora_shrink",
    "--batch-size": "16",
    "--hidden-size": "5120",
    "--lora-rank": "16",
    "--num-loras": "4",
}


def test_a_flag_before_the_command_that_there_is_not_is_told_in_a_line(cli: Cli) -> None:
    done = cli("--nosuch study list")
    assert done.exit_code == 2
    assert re.fullmatch(r"Error: No such option '--nosuch'; see .+ --help\n", done.stderr)


def contents(cli: Cli) -> dict[str, object]:
    """Returns everything in the folder; of the database what it holds, since reading already changes SQLite's files."""
    files = [path for path in sorted(cli.folder.rglob("*")) if not path.name.startswith(cli.database.name)]
    found: dict[str, object] = {str(path): path.read_bytes() if path.is_file() else None for path in files}
    if cli.database.exists():
        found["database"] = held(cli.database)
    return found


def held(database: Path) -> list[object]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        try:
            return [list(connection.execute(f"SELECT * FROM {name}")) for name in ("studies", "trials")]
        except sqlite3.DatabaseError:
            return [database.read_bytes()]


@pytest.fixture
def refuse(cli: Cli) -> Callable[..., str]:
    """Runs a command that must be refused; returns its one line."""

    def refuse(*words: str | Path) -> str:
        before = contents(cli)
        result = cli(*words)
        assert contents(cli) == before
        assert result.stdout == ""
        return the_line(result)

    return refuse


def the_line(result: Result) -> str:
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.strip()


def flags(**changes: str | None) -> str:
    """Returns the flags of a sound problem, with changes; None leaves a flag out."""
    changed = FLAGS | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    return " ".join(f"{name} {value}" for name, value in changed.items() if value is not None)


@pytest.mark.parametrize(
    "words",
    [
        "study export --dir=",
        "study report --html=",
        "study list --storage=",
        "plan Qwen3-8B --runtime vllm --lora-rank 16 --max-loras 4 --lora-path=",
        "plan Qwen3-8B --runtime vllm --lora-rank 16 --max-loras 4 --target-modules=",
    ],
)
def test_nothing_as_a_shell_makes_of_a_variable_that_is_not_set_is_refused(
    refuse: Callable[..., str], words: str
) -> None:
    assert "got '', allowed: " in refuse(words)


@pytest.mark.parametrize("command", ["study create", "tune --save-json-dir tuned"])
@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        pytest.param(
            {"op_type": "lora_shrinc"}, ["'lora_shrinc'", "lora_expand, lora_linear, lora_shrink"], id="unknown op"
        ),
        pytest.param({"dtype": "float8"}, ["dtype", "'float8'", "float16, bfloat16"], id="unknown dtype"),
        pytest.param({"dtype": "torch.float32"}, ["'float32'", "half precision"], id="a dtype never served"),
        *(
            pytest.param({name: value}, [f"--{name.replace('_', '-')}", value], id=f"{name} {value}")
            for name in ("hidden_size", "batch_size", "lora_rank", "num_loras", "num_slices", "num_active_loras")
            for value in ("0", "-4", "1.5", "many")
        ),
        pytest.param({"seq_length": "0"}, ["--seq-length", "0"], id="seq_length 0"),
        pytest.param({"lora_rank": "17"}, ["rank", "17", "16, 32, 64"], id="a rank not supported"),
        pytest.param({"hidden_size": None}, ["--hidden-size", "not given"], id="no hidden size"),
        pytest.param({"lora_rank": None}, ["--lora-rank", "not given"], id="no rank"),
        pytest.param({"batch_size": None}, ["--batch-size", "not given", "--m-values"], id="no batch size"),
        pytest.param({"num_loras": None}, ["--num-loras", "not given"], id="no number of adapters"),
        pytest.param({"num_active_loras": "5"}, ["5", "--num-active-loras"], id="more adapters active than there are"),
        pytest.param({"m_values": "16"}, ["--m-values", "--batch-size"], id="token counts twice"),
        pytest.param({"m_values": "16,x", "batch_size": None}, ["--m-values", "'16,x'"], id="m that is no integer"),
        pytest.param({"m_values": "0", "batch_size": None}, ["--m-values", "'0'", "positive"], id="m of zero"),
        pytest.param({"sort_by_lora_id": "2"}, ["--sort-by-lora-id", "'2'"], id="no switch"),
        pytest.param({"dim": "rows"}, ["--dim", "'rows'", "NAME=VALUE"], id="dim without a value"),
        pytest.param({"backend": "cuda"}, ["--backend cuda", "no CUDA GPU"], id="no GPU"),
        pytest.param({"backend": "cpu"}, ["--backend", "'cpu'", "replay"], id="unknown backend"),
        pytest.param(
            {"backend": "replay", "hidden_size": "4096"},
            ["no recording", "m16-k4096", "vllm_shrink_M16_K5120_N16_L4_S1"],
            id="no recording",
        ),
        pytest.param({"hidden_size": "4096"}, ["no CUDA GPU here", "vllm_shrink_M16"], id="neither GPU nor recording"),
        pytest.param({"space": "wide"}, ["--space", "'wide'", "replay"], id="a space for a replay"),
        pytest.param({"recorded": "nowhere"}, ["--recorded", "nowhere"], id="no folder of recordings"),
        pytest.param({"op_type": "kernel.py:KERNEL"}, ["kernel.py", "no such file"], id="no kernel file"),
        pytest.param({"slice_widths": "64,x", "op_type": "lora_expand"}, ["--slice-widths", "'64,x'"], id="no widths"),
    ],
)
def test_a_problem_that_makes_no_sense(
    refuse: Callable[..., str], command: str, changes: dict[str, str | None], parts: list[str]
) -> None:
    line = refuse(command, flags(**changes))
    assert not [part for part in parts if part not in line], line


@pytest.mark.parametrize(
    ("flag", "parts"),
    [
        ("--trials 0", ["--trials", "0"]),
        ("--timeout soon", ["--timeout", "'soon'", "10m"]),
        ("--timeout 0", ["--timeout", "0"]),
        ("--sampler best", ["--sampler", "'best'", "random"]),
        ("--stop now", ["--stop", "'now'"]),
        ("--seed x", ["--seed", "'x'"]),
        ("--nonsense", ["--nonsense"]),
    ],
)
@pytest.mark.parametrize("command", ["study run", f"tune --save-json-dir tuned {flags()}"], ids=["study run", "tune"])
def test_a_run_that_makes_no_sense(
    finished: Cli, refuse: Callable[..., str], command: str, flag: str, parts: list[str]
) -> None:
    line = refuse(command, flag)
    assert not [part for part in parts if part not in line], line


READERS = [
    "study list",
    "study run",
    "study show x",
    "study best x",
    "study export --dir tuned",
    "study delete --yes x",
]


@pytest.mark.parametrize("command", [*READERS, "dashboard"])
def test_a_storage_that_is_not_there(refuse: Callable[..., str], command: str) -> None:
    line = refuse(command)
    assert "no such file" in line
    assert "study create" in line


@pytest.mark.parametrize("command", [*READERS, "dashboard", f"study create {flags()}"], ids=lambda c: c.split(" -")[0])
def test_a_storage_that_is_not_ours(cli: Cli, refuse: Callable[..., str], command: str) -> None:
    cli.database.write_text("not a database, but long enough to be taken for one\n" * 100)
    assert "is not a SQLite database" in refuse(command)
    cli.database.unlink()
    with sqlite3.connect(cli.database) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    assert "database of something else" in refuse(command)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("not-a-url", "for this file sqlite:///not-a-url"),
        ("sqlite:///missing/folder/a.db", "missing/folder does not exist"),
        ("sqlite:///.", "is a folder"),
        ("postgresql://127.0.0.1:1/none", "cannot open postgresql://127.0.0.1:1/none"),
        ("nosuch://host/db", "cannot open nosuch://host/db"),
    ],
)
@pytest.mark.parametrize("command", ["study list", f"study create {flags()}"], ids=["list", "create"])
def test_a_storage_that_cannot_be_opened(refuse: Callable[..., str], command: str, url: str, part: str) -> None:
    line = refuse(f"{command} --storage {url}")
    if command != "study list" or not url.startswith("sqlite:///missing"):
        assert part in line


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@127.0.0.1:1/none",
        "postgresql://me:hunter2@127.0.0.1:port/none",
        "postgresql://127.0.0.1:1/none?user=me&password=hunter2",
        "mysql+pymysql://me@127.0.0.1:1/none?password=hunter2",
        "mysql+pymysql://me:hunter2@127.0.0.1:1/none?nothing=1",
        "://me:hunter2@127.0.0.1",
        "me:hunter2@127.0.0.1",
        "sqlite:///missing.db?password=hunter2",
        "sqlite:///no/such/folder/studies.db?password=hunter2",
        "sqlite:///:memory:?password=hunter2",
        "sqlite:///.?password=hunter2",
    ],
)
def test_a_password_is_not_printed(refuse: Callable[..., str], url: str) -> None:
    assert "hunter2" not in refuse(f"study list --storage {url}")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param("KERNEL = 3\n", ["which is int", "a Kernel object"], id="no kernel"),
        pytest.param("", ["which is not defined there"], id="nothing"),
        pytest.param("KERNEL = (\n", ["cannot load", "SyntaxError"], id="no Python"),
        pytest.param("import nosuchmodule\n", ["cannot load", "nosuchmodule"], id="an import that fails"),
    ],
)
def test_a_kernel_file_that_holds_no_kernel(
    cli: Cli, refuse: Callable[..., str], monkeypatch: pytest.MonkeyPatch, text: str, parts: list[str]
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (cli.folder / "own.py").write_text(text)
    line = refuse("study create", flags(op_type="own.py:KERNEL"))
    assert not [part for part in parts if part not in line], line


def test_an_optuna_study_of_somebody_else(cli: Cli, refuse: Callable[..., str]) -> None:
    import optuna

    cli.ok("study create", flags())
    optuna.create_study(storage=cli.url, study_name="theirs")
    assert "was not made by this tool" in refuse("study show theirs")
    assert "theirs" not in cli.ok("study list")


@pytest.mark.parametrize("command", ["study run", "study export --dir tuned"])
def test_a_glob_that_matches_nothing(finished: Cli, refuse: Callable[..., str], command: str) -> None:
    line = refuse(command, "lora_expand* moe*")
    assert "'moe*'" in line
    assert "lora_shrink-m16" in line


def test_a_backend_that_the_study_is_not_of(cli: Cli) -> None:
    cli.ok("study create", flags())
    result = cli("study run --backend cuda")
    assert result.exit_code == 2
    assert "is a replay study" in result.stderr
    assert '"trials": 0' in cli.ok("study list --json")


def test_nothing_finished_to_export(cli: Cli, refuse: Callable[..., str]) -> None:
    cli.ok("study create", flags())
    assert "no matching study is finished" in refuse("study export --dir tuned")


EXPORTS = ["study export --dir tuned", f"tune --json-overwrite --trials 3 --save-json-dir tuned {flags()}"]
each_export = pytest.mark.parametrize("command", EXPORTS, ids=["study export", "tune"])


@each_export
@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"5": {"1": {"16": {"5120": {"16": 3}}}}}', "\x00"])
def test_a_malformed_file_in_the_folder_is_named_and_left_alone(
    finished: Cli, refuse: Callable[..., str], command: str, text: str
) -> None:
    file = finished.folder / "tuned" / "NVIDIA_H200_SHRINK.json"
    file.parent.mkdir()
    file.write_text(text)
    assert file.name in refuse(command)


@each_export
def test_a_malformed_side_car_is_named_and_left_alone(finished: Cli, refuse: Callable[..., str], command: str) -> None:
    file = finished.folder / "tuned" / "autotune-provenance.json"
    file.parent.mkdir()
    file.write_text("{")
    assert file.name in refuse(command)


@each_export
def test_a_folder_that_is_a_file(finished: Cli, refuse: Callable[..., str], command: str) -> None:
    (finished.folder / "tuned").write_text("in the way")
    assert "tuned" in refuse(command)


def test_a_folder_that_cannot_be_made(finished: Cli, refuse: Callable[..., str]) -> None:
    assert "/proc/tuned" in refuse("study export --dir /proc/tuned")


@pytest.mark.parametrize("command", [f"{EXPORTS[0]} --csv", f"{EXPORTS[1]} --output-csv"], ids=["study export", "tune"])
@pytest.mark.parametrize("file", ["missing/all.csv", "."])
def test_a_csv_file_that_cannot_be_written(finished: Cli, refuse: Callable[..., str], command: str, file: str) -> None:
    line = refuse(command, file)
    assert "csv: cannot write" in line


def test_tune_without_a_new_study_refuses_before_it_creates_one(cli: Cli, refuse: Callable[..., str]) -> None:
    (cli.folder / "tuned").write_text("in the way")
    refuse("tune --trials 3 --save-json-dir tuned", flags())
    assert not cli.database.exists()


def test_a_checkpoint_that_tells_nothing(refuse: Callable[..., str]) -> None:
    assert "--model-path" in refuse("tune --model-path nowhere", flags())
    assert "--lora-path" in refuse("tune --lora-path nowhere", flags())


def test_a_replay_needs_no_cache_folder(cli: Cli) -> None:
    cli.ok("study create", flags())
    (cli.folder / "cache").write_text("in the way")
    cli.ok("study run --trials 3")


WITHOUT = """
    import sys

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in sys.argv[1].split(","):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Missing())
    from autotune.cli.main import main

    main(sys.argv[2:])
"""


def test_a_study_of_a_recording_is_made_without_what_runs_kernels(cli: Cli) -> None:
    result = without("torch,triton", cli, f"study create {flags()}".split())
    assert result.returncode == 0, result.stderr


def without(packages: str, cli: Cli, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(WITHOUT), packages, *arguments]
    environment = os.environ | cli.env | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cli.folder, check=False)


@pytest.mark.parametrize("field", ["num_hidden_layers", "num_local_experts", "hidden_size", "vocab_size"])
def test_a_models_size_without_bounds_is_refused_or_not_read(cli: Cli, field: str) -> None:
    config = {**RECORDED_MODEL, field: 10**9}
    (cli.folder / "model").mkdir()
    (cli.folder / "model/config.json").write_text(json.dumps(config))
    done = cli("plan model --runtime vllm --lora-rank 16 --max-loras 4 --from-tables")
    if field in RECORDED_MODEL:
        assert field in the_line(done)


@pytest.mark.parametrize("seed", ["-1", "1e3", "²", str(2**40)])
def test_a_seed_that_no_sampler_takes_is_refused(cli: Cli, refuse: Callable[..., str], seed: str) -> None:
    cli.ok("study create --backend replay", flags())
    assert "--seed" in refuse("study run --seed", seed)
