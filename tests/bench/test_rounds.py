"""Processes of an engine: their order, what each is given, what is stored, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.bench import rounds, serve_table, variants
from autotune.bench.rounds import ServeRun
from autotune.bench.serve_folder import ServeFolder
from autotune.errors import AutotuneError, InputError
from autotune.servers.engine import EngineJob, EnginePhase, LoraJob
from autotune.servers.trace import read
from autotune.servers.vllm.server import VLLM
from tests.builders.fake_engine import FakeEngine
from tests.builders.fake_engine_process import FOLDER_VARIABLE, MOOD, OFF_MS

PHASES = (EnginePhase("decode 16", 16, 32, 128), EnginePhase("prefill 8x1024", 8, 1024, 1))
JOB = EngineJob("model", True, LoraJob(16, 4, ("a", "b"), used=True), PHASES, repeats=3, max_model_len=2048)


@pytest.fixture
def serve_run(tmp_path: Path) -> ServeRun:
    folder = ServeFolder(tmp_path / "tuned", tmp_path / "tuned" / "autotune")
    for place in (folder.served, folder.builtin):
        assert place is not None
        place.mkdir()
        (place / "NVIDIA_H200_SHRINK.json").write_text("{}")
    chosen = tuple(variant for variant in variants.standard(folder, True) if variant.name != variants.PLUGIN)
    return ServeRun(FakeEngine(), JOB, folder, chosen, 2, tmp_path / "store", timeout_s=60)


def starts(serve_run: ServeRun) -> int:
    """Tells how many processes of all variants were started."""
    return sum(len(file.read_text().splitlines()) for file in serve_run.store.rglob("starts.txt"))


def test_variants_run_forth_and_back() -> None:
    chosen = variants.standard(ServeFolder(Path("tuned"), Path("tuned/autotune")), True)
    assert "".join(variant.name for _, variant in variants.order(chosen, 3)) == "ABDCNNCDBAABDCN"


@pytest.mark.parametrize(
    ("folder", "installed", "names"),
    [
        (ServeFolder(), True, "ACN"),
        (ServeFolder(served=Path("tuned")), True, "ABCN"),
        (ServeFolder(builtin=Path("tuned/autotune")), True, "ADCN"),
        (ServeFolder(Path("tuned"), Path("tuned/autotune")), False, "ABCN"),
    ],
)
def test_variants_are_those_that_the_folder_has_files_for(folder: ServeFolder, installed: bool, names: str) -> None:
    assert "".join(variant.name for variant in variants.standard(folder, installed)) == names


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


@pytest.mark.parametrize("content", ["", "{", "[]", '{"gpu": 1}', '{"a":' * 3000])
def test_a_damaged_round_is_named(serve_run: ServeRun, content: str) -> None:
    rounds.run(replace(serve_run, rounds=1))
    stored = next(serve_run.store.rglob("*.json"))
    stored.write_text(content)
    with pytest.raises(AutotuneError, match=f"{stored}: is no round that can be read .*delete it"):
        rounds.run(replace(serve_run, rounds=1))


def test_another_content_of_the_folder_is_another_variant(serve_run: ServeRun) -> None:
    rounds.run(replace(serve_run, rounds=1))
    assert serve_run.folder.served is not None
    assert serve_run.folder.builtin is not None
    (serve_run.folder.served / "NVIDIA_H200_SHRINK.json").write_text('{"5": {}}')
    (serve_run.folder.builtin / "NVIDIA_H200_SHRINK.json").write_text('{"6": {}}')
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
    assert given == {"A": None, "B": str(serve_run.folder.served), "C": None, "N": None}


def test_a_further_variant_has_its_own_environment(serve_run: ServeRun) -> None:
    slow = variants.parse(f"S:{MOOD}=3")
    finished = rounds.run(replace(serve_run, variants=(*serve_run.variants, slow)))
    (cell,) = [c for c in serve_table.cells(finished) if (c.variant, c.phase) == ("S", "decode 16")]
    assert cell.against_default == "slower"
    lines = serve_table.verdicts(finished, serve_table.cells(finished))
    assert "S is slower than the defaults at decode 16, prefill 8x1024: do not serve with it" in lines


def with_plugin(serve_run: ServeRun) -> ServeRun:
    """The run of the defaults and of the plug-in."""
    chosen = variants.standard(serve_run.folder, True)
    return replace(serve_run, rounds=1, variants=tuple(each for each in chosen if each.name in "AD"))


def test_the_plugin_is_on_in_its_variant_alone(serve_run: ServeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_AUTOTUNE_KERNELS", "1")
    monkeypatch.setenv("LORA_AUTOTUNE_CONFIG_DIR", "/of/the/shell")
    defaults, plugin = rounds.run(with_plugin(serve_run))
    assert (defaults.shown.plugin, defaults.shown.sources) == (None, ("fake",))
    assert plugin.shown.plugin == f"lora_shrink with files of {serve_run.folder.builtin}"
    assert plugin.shown.sources == ("builtin",)


def test_the_server_gets_no_folder_that_holds_nothing_for_it(serve_run: ServeRun) -> None:
    both = with_plugin(serve_run)
    ours = replace(serve_run, folder=ServeFolder(builtin=serve_run.folder.builtin))
    given = [rounds.environment(each, with_plugin(each).variants[1]).get(FOLDER_VARIABLE) for each in (both, ours)]
    assert given == [str(serve_run.folder.served), None]


def test_other_files_of_the_plugin_are_another_variant(serve_run: ServeRun) -> None:
    rounds.run(with_plugin(serve_run))
    assert serve_run.folder.builtin is not None
    (serve_run.folder.builtin / "NVIDIA_H200_SHRINK.json").write_text('{"5": {}}')
    said: list[str] = []
    rounds.run(with_plugin(serve_run), said.append)
    assert ["variant" in line or "(the plug-in" in line for line in said] == [True]


def test_another_setting_of_the_plugin_is_another_variant(serve_run: ServeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the variant that has the plug-in: what was measured without the shell's switch is not what is with it."""
    rounds.run(with_plugin(serve_run))
    monkeypatch.setenv("LORA_AUTOTUNE_SHRINK_BESIDE", "0")
    said: list[str] = []
    rounds.run(with_plugin(serve_run), said.append)
    assert len(said) == 1
    assert "the plug-in" in said[0]


@pytest.mark.parametrize(
    ("mood", "what"),
    [
        ("keeps the plug-in off", r"variant D: the plug-in is to be on, yet .* no line of it"),
        ("runs its own", r"variant D: the plug-in says .* yet all LoRA kernels that ran are of fake"),
        ("runs ours unasked", r"variant A: the plug-in is to be off, yet it ran"),
    ],
)
def test_a_variant_that_is_not_what_it_says_is_refused_and_not_kept(
    serve_run: ServeRun, monkeypatch: pytest.MonkeyPatch, mood: str, what: str
) -> None:
    monkeypatch.setenv(MOOD, mood)
    with pytest.raises(AutotuneError, match=what):
        rounds.run(with_plugin(serve_run))
    monkeypatch.delenv(MOOD)
    assert "".join(each.variant.name for each in rounds.run(with_plugin(serve_run))) == "AD"


@pytest.fixture
def traced(serve_run: ServeRun, tmp_path: Path) -> ServeRun:
    """The run of the defaults, and of them with the recorder."""
    recorder = variants.parse(f"T:LORA_AUTOTUNE_TRACE={tmp_path / 'trace.jsonl'}")
    return replace(serve_run, rounds=1, variants=(serve_run.variants[0], recorder))


def test_a_variant_that_records_gives_a_trace(traced: ServeRun, tmp_path: Path) -> None:
    """The recorder's line in the log is none of kernels: the server's own run."""
    defaults, recorder = rounds.run(traced)
    assert recorder.shown == defaults.shown
    trace = tmp_path / "trace.jsonl"
    found = read(trace, {"vllm": VLLM.command_line.ops})
    assert found.batches["tokens"] == {16: 1}
    rounds.run(traced)
    assert read(trace, {"vllm": VLLM.command_line.ops}).processes == 1, "what is stored is not run again"
    trace.unlink()
    rounds.run(traced)
    assert trace.exists(), "unless its trace is gone"


def test_the_shells_trace_is_of_no_variant(traced: ServeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_AUTOTUNE_TRACE", str(tmp_path / "shell.jsonl"))
    rounds.run(traced)
    assert (tmp_path / "trace.jsonl").exists()
    assert not (tmp_path / "shell.jsonl").exists()


def test_a_variant_that_recorded_nothing_is_refused_and_not_kept(
    traced: ServeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MOOD, "records nothing")
    with pytest.raises(AutotuneError, match=r"variant T: nothing was recorded in .*trace\.jsonl: .*; see .*\.log"):
        rounds.run(traced)
    monkeypatch.delenv(MOOD)
    assert len(rounds.run(traced)) == 2


def test_launches_are_those_of_a_step(serve_run: ServeRun) -> None:
    finished = rounds.run(replace(serve_run, rounds=1))
    found = {(cell.variant, cell.phase): cell for cell in serve_table.cells(finished)}
    assert found["A", "decode 16"].launches_a_step == 36
    assert found["A", "decode 16"].lora_ms_a_step == pytest.approx(1.0)


def test_a_gpu_that_waits_for_the_cpu_is_told(serve_run: ServeRun) -> None:
    assert not serve_table.waiting(serve_table.cells(rounds.run(replace(serve_run, rounds=1))))
    waits = variants.parse(f"W:{MOOD}=waits")
    finished = rounds.run(replace(serve_run, rounds=1, variants=(*serve_run.variants, waits)))
    lines = serve_table.waiting(serve_table.cells(finished))
    (line,) = [line for line in lines if "decode 16" in line]
    assert re.fullmatch(r"at decode 16 the GPU is busy for 3\.5 of 7\.\d ms in W: the rest .* waits for the CPU", line)
    assert set(lines) <= set(serve_table.verdicts(finished, serve_table.cells(finished)))


def test_a_gain_within_the_rounds_spread_is_told_with_both(serve_run: ServeRun) -> None:
    same = variants.parse(f"S:{MOOD}=1.001")
    finished = rounds.run(replace(serve_run, variants=(*serve_run.variants, same)))
    (line,) = [each for each in serve_table.verdicts(finished, serve_table.cells(finished)) if each.startswith("S: ")]
    assert line.startswith("S: nothing gained beyond the rounds' spread: +0.0")
    assert "processes of one variant differ by up to 0.0" in line


def test_one_round_cannot_tell(serve_run: ServeRun) -> None:
    finished = rounds.run(replace(serve_run, rounds=1))
    (cell,) = [c for c in serve_table.cells(finished) if (c.variant, c.phase) == ("B", "decode 16")]
    assert cell.against_default == "one round: not known"
    (line,) = [line for line in serve_table.verdicts(finished, serve_table.cells(finished)) if "--rounds" in line]
    assert line.startswith("B beside the defaults: -0.9")
    assert "one process of each cannot tell" in line


def test_an_engine_that_does_not_start_says_why(serve_run: ServeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds.run(replace(serve_run, rounds=1, variants=serve_run.variants[:1]))
    monkeypatch.setenv(MOOD, "dies")
    with pytest.raises(AutotuneError, match=r"variant B.*exit code 3; not enough memory; its last.*\.log"):
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
    assert not any("no Triton kernel was compiled" in line for line in lines)
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
