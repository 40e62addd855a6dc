"""Processes of an engine: their order, what each is given, what is stored, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autotune.bench import rounds, serve_table, variants
from autotune.bench.rounds import ServeRun
from autotune.errors import AutotuneError, InputError
from autotune.servers.engine import EngineJob, EnginePhase, LoraJob
from tests.builders.fake_engine import FakeEngine
from tests.builders.fake_engine_process import FOLDER_VARIABLE, MOOD, OFF_MS

PHASES = (EnginePhase("decode 16", 16, 32, 128), EnginePhase("prefill 8x1024", 8, 1024, 1))
JOB = EngineJob("model", True, LoraJob(16, 4, ("a", "b"), used=True), PHASES, repeats=3, max_model_len=2048)


@pytest.fixture
def serve_run(tmp_path: Path) -> ServeRun:
    folder = tmp_path / "tuned"
    folder.mkdir()
    (folder / "NVIDIA_H200_SHRINK.json").write_text("{}")
    chosen = tuple(variants.standard(with_folder=True))
    return ServeRun(FakeEngine(), JOB, folder, chosen, 2, tmp_path / "store", timeout_s=60)


def starts(serve_run: ServeRun) -> int:
    """Tells how many processes of all variants were started."""
    return sum(len(file.read_text().splitlines()) for file in serve_run.store.rglob("starts.txt"))


def test_variants_run_forth_and_back() -> None:
    chosen = variants.standard(with_folder=True)
    assert "".join(variant.name for _, variant in variants.order(chosen, 3)) == "ABCNNCBAABCN"


def test_what_counts_is_the_time_above_lora_off(serve_run: ServeRun) -> None:
    finished = rounds.run(serve_run)
    assert "".join(each.variant.name for each in finished) == "ABCNNCBA"
    found = {(cell.variant, cell.phase): cell for cell in serve_table.cells(finished)}
    above = {name: found[name, "decode 16"].above_off_ms for name in "ABCN"}
    assert above == pytest.approx({"A": 2.0, "B": 1.0, "C": 0.5, "N": 0.0}, abs=0.05)
    assert found["B", "decode 16"].against_default == "faster"
    assert found["C", "decode 16"].against_default is None, "LoRA that nobody uses is no rival"
    assert found["N", "prefill 8x1024"].launches == 0 < found["A", "prefill 8x1024"].launches
    assert found["N", "decode 16"].ms == pytest.approx(OFF_MS, abs=0.05)


def test_what_is_stored_is_not_run_again(serve_run: ServeRun) -> None:
    said: list[str] = []
    rounds.run(replace(serve_run, rounds=1), said.append)
    assert (starts(serve_run), len(said)) == (4, 4)
    finished = rounds.run(serve_run, said.append)
    assert (starts(serve_run), len(said), len(finished)) == (8, 8, 8)
    rounds.run(serve_run, said.append)
    assert len(said) == 8


def test_another_content_of_the_folder_is_another_variant(serve_run: ServeRun) -> None:
    rounds.run(replace(serve_run, rounds=1))
    assert serve_run.folder is not None
    (serve_run.folder / "NVIDIA_H200_SHRINK.json").write_text('{"5": {}}')
    said: list[str] = []
    rounds.run(replace(serve_run, rounds=1), said.append)
    assert len(said) == 1
    assert "with the folder" in said[0]


def test_another_setting_or_version_of_the_server_is_run_again(
    serve_run: ServeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    once, said = replace(serve_run, rounds=1, variants=serve_run.variants[:1]), list[str]()
    rounds.run(once, said.append)
    monkeypatch.setenv("CLICK_MODEL_RUNNER", "2")
    rounds.run(once, said.append)
    monkeypatch.setattr(rounds, "installed_version", lambda package: "99")
    rounds.run(once, said.append)
    monkeypatch.setattr(rounds, "gpu_of_driver", lambda: "another")
    rounds.run(once, said.append)
    monkeypatch.setenv("UNRELATED", "2")
    rounds.run(once, said.append)
    assert len(said) == 4


def test_only_the_variant_of_the_folder_gets_the_folder(serve_run: ServeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "/of/the/shell")
    given = {
        variant.name: rounds.environment(serve_run, variant).get(FOLDER_VARIABLE) for variant in serve_run.variants
    }
    assert given == {"A": None, "B": str(serve_run.folder), "C": None, "N": None}


def test_a_further_variant_has_its_own_environment(serve_run: ServeRun) -> None:
    slow = variants.parse(f"S:{MOOD}=3")
    finished = rounds.run(replace(serve_run, variants=(*serve_run.variants, slow)))
    (cell,) = [c for c in serve_table.cells(finished) if (c.variant, c.phase) == ("S", "decode 16")]
    assert cell.against_default == "slower"
    lines = serve_table.verdicts(finished, serve_table.cells(finished))
    assert "S is slower than the defaults at decode 16, prefill 8x1024: do not serve with it" in lines


def test_one_round_cannot_tell(serve_run: ServeRun) -> None:
    finished = rounds.run(replace(serve_run, rounds=1))
    (cell,) = [c for c in serve_table.cells(finished) if (c.variant, c.phase) == ("B", "decode 16")]
    assert cell.against_default == "one round: not known"
    (line,) = [line for line in serve_table.verdicts(finished, serve_table.cells(finished)) if "--rounds" in line]
    assert line.startswith("B: one process each cannot tell")


def test_an_engine_that_does_not_start_says_why(serve_run: ServeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds.run(replace(serve_run, rounds=1, variants=serve_run.variants[:1]))
    monkeypatch.setenv(MOOD, "dies")
    with pytest.raises(AutotuneError, match=r"variant B.*exit code 3.*out of memory.*\.log"):
        rounds.run(replace(serve_run, rounds=1))
    monkeypatch.delenv(MOOD)
    said: list[str] = []
    rounds.run(replace(serve_run, rounds=1), said.append)
    assert len(said) == 3, "the defaults' round was kept"


def test_an_engine_that_hangs_is_killed(serve_run: ServeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MOOD, "hangs")
    with pytest.raises(AutotuneError, match=r"variant A.*longer than 0\.2 s.*--engine-timeout"):
        rounds.run(replace(serve_run, timeout_s=0.2))


def test_a_folder_that_was_not_read_proves_nothing(serve_run: ServeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MOOD, "ignores the folder")
    with pytest.raises(AutotuneError, match=r"variant B.*does not say that it read"):
        rounds.run(serve_run)


def test_compilations_while_timing_are_told(serve_run: ServeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MOOD, "compiles")
    finished = rounds.run(replace(serve_run, rounds=1))
    lines = serve_table.verdicts(finished, serve_table.cells(finished))
    assert any("B, round 1: 1 kernels were compiled" in line and "_lora_expand_kernel" in line for line in lines)


def test_other_answers_are_told_with_how_near_they_were(serve_run: ServeRun) -> None:
    other = variants.parse(f"S:{MOOD}=says otherwise")
    finished = rounds.run(replace(serve_run, rounds=1, variants=(*serve_run.variants, other)))
    by_variant = {sameness.variant: sameness for sameness in serve_table.answers(finished)}
    assert (by_variant["B"].same, by_variant["B"].largest_gap) == (4, None)
    assert by_variant["S"].same == 0
    assert by_variant["S"].largest_gap == pytest.approx(0.25)


@pytest.mark.parametrize("text", ["", "P", "P:", "P:KEY", ":K=V", "A:K=V", "a b:K=V"])
def test_a_variant_that_is_none(text: str) -> None:
    with pytest.raises(InputError, match="--variant"):
        variants.parse(text)
