from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from autotune.bench import chance, kernel_tuner
from autotune.bench import search as benchmark
from autotune.bench.outcome import SearchOutcome, Spread, slowest
from autotune.bench.rivals import RIVALS
from autotune.cli.bench import bench
from autotune.measure.recording import Recording

_FIELDS = {
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
    return CliRunner().invoke(bench, ["search", *words])


@pytest.mark.parametrize("draws", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_random_is_exact(draws: int, share: float, small: Recording) -> None:
    """Against every possible draw of a small space."""
    left = chance.regrets(small)
    found = sorted(min(left[i] for i in drawn) for drawn in itertools.combinations(range(len(left)), draws))
    assert chance.spread(small, draws).quantile(share) == pytest.approx(Spread.even(found).quantile(share))
    assert chance.worst_regret(small, draws) == pytest.approx(found[-1])


def test_draws_to_a_regret(small: Recording) -> None:
    good = int((chance.regrets(small) <= 0.05).sum())
    needed = chance.draws_to(small, 0.05)
    drawn = len(chance.regrets(small))
    assert chance.chance_within(drawn, needed)[good - 1] >= 0.5
    assert chance.chance_within(drawn, needed - 1)[good - 1] < 0.5


def test_compile_failures_and_repeats_are_no_evaluations(toy: Recording) -> None:
    failing = next(c for c, m in zip(toy.configs, toy.measurements, strict=True) if m.failed)
    outcome = SearchOutcome(toy)
    outcome.ask(failing)
    assert outcome.regrets == []
    assert outcome.regret(1) == slowest(toy)
    outcome.ask(toy.configs[0])
    outcome.ask(toy.configs[0])
    outcome.ask({**toy.configs[0], "BLOCK_M": 7})
    assert (len(outcome.regrets), outcome.repeated, outcome.infeasible, outcome.asks) == (1, 1, 1, 4)
    assert outcome.regret(100) == outcome.regrets[-1]
    assert outcome.evaluations_to(-1) == float("inf")


@pytest.mark.parametrize("name", [name for name in RIVALS if not name.startswith("kt-")])
def test_rivals_spend_their_budget_and_begin_with_the_incumbent(name: str, toy: Recording) -> None:
    outcome = RIVALS[name](toy, 15, 0)
    assert len(outcome.regrets) <= 15 <= outcome.asks
    assert outcome.regrets[0] == pytest.approx(toy.measurements[0].median_us / toy.best_us - 1)
    assert np.all(np.diff(outcome.regrets) <= 0)


@pytest.mark.skipif(not kernel_tuner.installed(), reason="the extra 'rivals' is not installed")
@pytest.mark.parametrize("name", kernel_tuner.STRATEGIES)
def test_kernel_tuner_strategies(name: str, toy: Recording) -> None:
    outcome = RIVALS[name](toy, 15, 0)
    assert 1 < len(outcome.regrets) <= 15 * 192 / 156 + 1
    assert outcome.infeasible == 0


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


def test_the_median_of_two_is_halfway() -> None:
    assert Spread.even([0.0, 0.02]).median == pytest.approx(0.01)
    assert Spread.even([0.0, 0.02, 0.5]).median == pytest.approx(0.02)
    assert Spread.pooled([Spread.even([0.0, 0.1]), Spread.even([0.2, 0.3])]).median == pytest.approx(0.15)
    assert Spread.even([0.3]).median == pytest.approx(0.3)


def test_a_search_that_does_not_stop_ends_with_its_budget(toy: Recording) -> None:
    stopped, other = (
        SearchOutcome(toy, regrets=[0.3, 0.2, 0.1], stopped_after=2),
        SearchOutcome(toy, regrets=[0.4, 0.4, 0.4]),
    )
    row = benchmark.Score(toy, "gp", (stopped, other)).row(3)
    assert (row["evals_at_stop"], row["regret_at_stop"]) == (2.5, 0.4)
    assert benchmark.Score(toy, "gp", (other, other)).row(3)["evals_at_stop"] is None


def test_says_what_is_left_out_without_kernel_tuner(recorded_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_tuner, "installed", lambda: False)
    result = _search(
        "--recorded", str(recorded_dir), "--spaces", "*M32*", "--samplers", "kt-pso,random", "--seeds", "1"
    )
    assert result.exit_code == 0, result.output
    assert result.stderr.count("\n") == 1 and "extra 'rivals'" in result.stderr
    assert "kt-pso" not in result.stdout


def test_a_neighbour_is_another_recording_of_the_kernel(recorded_dir: Path, toy: Recording) -> None:
    plan = benchmark.Comparison((toy.path,), ("gp",), 1, (12,), neighbour=True)
    outcome = benchmark.replay(plan, toy.path, "gp", 0)
    assert len(outcome.regrets) >= 12
