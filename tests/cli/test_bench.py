"""`bench search` as its user meets it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from autotune.bench import kernel_tuner
from autotune.cli.bench import bench

if TYPE_CHECKING:
    from tests.conftest import Cli

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "space": str,
    "configs": int,
    "sampler": str,
    "budget": int,
    "seeds": int,
    "median_regret": float,
    "p95_regret": float,
    "worst_regret": float,
    "evals_to_5pct": (int, float, type(None)),
    "evals_to_1pct": (int, float, type(None)),
    "repeated": int,
    "infeasible": int,
    "think_ms": float,
    "regret_at_stop": (float, type(None)),
    "evals_at_stop": (int, float, type(None)),
}


def _search(*words: str) -> Result:
    """Runs the command in this process: starting others takes longer than searching the toy spaces."""
    return CliRunner().invoke(bench, ["search", "--workers", "1", *words])


def test_json_has_the_fields_of_the_contract(recorded_dir: Path) -> None:
    result = _search("--recorded", str(recorded_dir), "--samplers", "auto,random", "--seeds", "2", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert len(rows) == 2 * 2 * 3
    for row in rows:
        assert set(row) == set(_FIELDS)
        assert all(isinstance(row[name], kind) for name, kind in _FIELDS.items())
        assert row["repeated"] == row["infeasible"] == 0
        assert 0 <= row["median_regret"] <= row["p95_regret"] <= row["worst_regret"]


def test_prints_a_table_and_draws_a_plot(recorded_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    words = ("--recorded", str(recorded_dir), "--spaces", "*M32*", "--samplers", "random,sweep", "--seeds", "1")
    result = _search(*words, "--budgets", "4,8", "--plot", str(tmp_path / "curves.png"))
    assert result.exit_code == 0, result.output
    lines = result.stdout.strip().splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["random", "sweep"]
    assert "All 2 spaces" in _search(*words[:2], *words[4:], "--budgets", "4").stdout
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--samplers", "luck"), "--samplers: got luck; allowed: auto"),
        (("--budgets", "0"), "--budgets: got '0'"),
        (("--spaces", "nothing*"), "--spaces: got 'nothing*'"),
        (("--spaces", "/tmp/*"), "--spaces: got '/tmp/*', which matches nothing"),
        (("--recorded", "/nowhere"), "--recorded: got /nowhere"),
        (("--plot", "/nowhere/x.png"), "--plot: got /nowhere/x.png, and there is no folder /nowhere"),
        (("--plot", "x.foo"), "--plot: got x.foo, allowed endings: "),
    ],
)
def test_bad_flags_are_named(words: tuple[str, ...], complaint: str) -> None:
    assert complaint in str(_search(*words, "--seeds", "1").exception)


def test_a_space_of_which_nothing_runs_is_left_out(recorded_dir: Path, tmp_path: Path) -> None:
    good = "toy_op_M32_K64.csv.gz"
    text = gzip.decompress((recorded_dir / good).read_bytes()).decode()
    (tmp_path / "broken_op_M1.csv.gz").write_bytes(gzip.compress(text.replace(",ok,", ",PTXASError,").encode()))
    words = (
        "--recorded",
        str(tmp_path),
        "--samplers",
        "auto,auto,random",
        "--seeds",
        "1",
        "--budgets",
        "4,4",
        "--json",
    )
    assert "none in" in str(_search(*words).exception)
    (tmp_path / good).write_bytes((recorded_dir / good).read_bytes())
    result = _search(*words)
    assert result.exit_code == 0, result.output
    assert [row["space"] for row in json.loads(result.stdout)] == ["toy_op_M32_K64"] * 2
    assert "broken_op_M1.csv.gz: left out, none of its configs has the status ok" in result.stderr


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    assert "there is no *.csv.gz in" in str(_search("--recorded", str(tmp_path)).exception)


def test_says_what_is_left_out_without_kernel_tuner(recorded_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_tuner, "installed", lambda: False)
    result = _search(
        "--recorded", str(recorded_dir), "--spaces", "*M32*", "--samplers", "kt-pso,random", "--seeds", "1"
    )
    assert result.exit_code == 0, result.output
    assert result.stderr.count("\n") == 1 and "extra 'rivals'" in result.stderr
    assert "kt-pso" not in result.stdout


def test_a_sweep_without_a_gpu_says_what_needs_none(cli: Cli) -> None:
    refused = cli("bench sweep", cli.SHRINK)
    assert refused.exit_code == 2
    assert refused.stderr.startswith("Error: bench sweep: no CUDA GPU here; ")
    assert "bench search" in refused.stderr
    assert "--backend" not in refused.stderr, "it has no such flag"
