"""Recorded spaces and the backend that answers from them: nothing is invented, and what is malformed is named."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.contract import registry
from autotune.errors import InputError
from autotune.measure import recording
from autotune.measure.recording import Recording
from autotune.measure.replay import ReplayBackend
from autotune.measure.result import COMPILE_FAILURES

HEADER = "block,maxnreg,status,compile_s,ms,ms_min,ms_max"
ROWS = (
    "16,,ok,0.5,0.010,0.009,0.012",
    "32,,ok,0.5,0.020,0.019,0.021",
    "64,,coarse,0.5,0.900,0.900,0.900",
    "16,64,OutOfResources,0.5,,,",
    "32,64,PTXASError,0.5,,,",
    "64,64,SomethingElse,0.5,,,",
)

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*rows: str, header: str = HEADER, name: str = "own_op_M16_K64.csv.gz") -> Path:
        path = tmp_path / name
        path.write_bytes(gzip.compress("\n".join([header, *rows, ""]).encode()))
        return path

    return write


@pytest.fixture
def small(write: Write) -> Recording:
    return recording.load(write(*ROWS))


def test_a_recording_knows_its_problem_and_its_default(small: Recording) -> None:
    assert small.name == "own_op_M16_K64"
    assert small.kernel == "own_op"
    assert small.sizes == {"M": 16, "K": 64}
    assert small.space.incumbent == {"block": 16, "maxnreg": None}
    assert len(small.space) == len(ROWS)
    assert small.best_us == 10.0


@pytest.mark.parametrize(
    ("block", "maxnreg", "status"),
    [
        (16, None, "ok"),
        (64, None, "pruned"),
        (16, 64, "out_of_resources"),
        (32, 64, "compile_error"),
        (64, 64, "crashed"),
    ],
)
def test_what_was_recorded_is_what_is_replayed(small: Recording, block: int, maxnreg: int | None, status: str) -> None:
    config = {"block": block, "maxnreg": maxnreg}
    backend = ReplayBackend(small)
    found = backend.measure(config, None)
    assert found.status == status
    failure = backend.compile_failure(config)
    assert (failure is not None) == (status in COMPILE_FAILURES)
    if found.failed:
        assert found.message
        assert found.samples_us == ()


def test_samples_have_the_recorded_median_and_extremes(small: Recording) -> None:
    found = ReplayBackend(small).measure({"block": 16, "maxnreg": None}, None)
    assert len(found.samples_us) == 7
    assert (min(found.samples_us), found.median_us, max(found.samples_us)) == (9.0, 10.0, 12.0)


def test_a_config_above_the_limit_is_given_up_after_three_samples(small: Recording) -> None:
    backend, slow = ReplayBackend(small), {"block": 32, "maxnreg": None}
    given_up = backend.measure(slow, 11.0)
    assert given_up.status == "pruned"
    assert len(given_up.samples_us) == 3
    assert backend.measure(slow, 19.0).status == "ok"


def test_a_race_replays_each_config(small: Recording) -> None:
    configs = [{"block": 16, "maxnreg": None}, {"block": 32, "maxnreg": None}]
    fast, slow = ReplayBackend(small).race(configs, 40)
    assert fast.median_us == 10.0
    assert slow.median_us == 20.0


@pytest.mark.parametrize("path", recording.find(), ids=lambda path: path.name.removesuffix(recording.SUFFIX))
def test_shipped_recordings_are_sound(path: Path) -> None:
    loaded = recording.load(path)
    assert len(loaded.space) == len(loaded.configs), "a config was recorded twice"
    assert loaded.sizes
    assert loaded.best_us > 0
    if not path.name.startswith("sglangx"):
        assert loaded.measurements[0].status == "ok", "the default was not measured"


def test_shipped_recordings_name_their_machine() -> None:
    machine = recording.machine()
    assert machine.environment.gpu == "NVIDIA H200"
    assert machine.copy_bandwidth_bytes_per_s > 1e12


@pytest.mark.parametrize(
    "row",
    [
        pytest.param("16,,ok,0.5,fast,0.1,0.1", id="time is no number"),
        pytest.param("wide,,ok,0.5,0.1,0.1,0.1", id="value is no number"),
        pytest.param("16,,ok,soon,0.1,0.1,0.1", id="seconds are no number"),
        pytest.param("16,,ok,0.5,,,", id="no time"),
        pytest.param("16,,ok", id="too short"),
        pytest.param("16,,OutOfResources", id="a failure cut short"),
        pytest.param("16,,ok,0.5,0.1,0.1,0.1,0.1", id="too long"),
        pytest.param("16,,ok,0.5,nan,nan,nan", id="not a time"),
        pytest.param("16,,ok,0.5,-1,-1,-1", id="negative time"),
        pytest.param(ROWS[0], id="twice"),
    ],
)
def test_a_malformed_row_is_named_with_file_and_line(write: Write, row: str) -> None:
    path = write(ROWS[0], row, ROWS[1])
    with pytest.raises(InputError) as error:
        recording.load(path)
    assert str(error.value).startswith(f"{path}:3: ")


def test_only_what_stands_before_the_status_is_a_parameter(write: Write) -> None:
    path = write(*(row + ",7" for row in ROWS), header=HEADER + ",run")
    path.write_bytes(gzip.compress("\ufeff".encode() + gzip.decompress(path.read_bytes())))
    assert recording.load(path).configs == recording.load(write(*ROWS)).configs


def test_a_name_that_the_kernel_does_not_allow_tells_no_problem() -> None:
    shrink = registry.load("lora_shrink")
    assert recording.named_problem(shrink, "vllm_shrink_M16_K5120_N16_L4_S1") is not None
    for name in ("vllm_shrink_M16_K5120_N24_L4_S1", "vllm_shrink_M0_K5120_N16_L4_S1", "vllm_expand_M1", "x"):
        assert recording.named_problem(shrink, name) is None


def test_a_glob_looks_no_further_than_the_folder(write: Write) -> None:
    folder = write(*ROWS).parent
    assert len(recording.find(folder)) == 1
    for pattern in ("/tmp/*", "../*", "**/x", "**"):
        assert len(recording.find(folder, pattern)) == (pattern == "**")


def test_a_file_without_rows_or_columns_is_refused(write: Write) -> None:
    with pytest.raises(InputError, match="at least one row"):
        recording.load(write())
    with pytest.raises(InputError, match="the columns status, compile_s, ms"):
        recording.load(write("16,1", header="block,time"))


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        gzip.compress(b"a,b\n" * 1000)[:-20],
        gzip.compress(b"\xff\xfe,\n"),
        gzip.compress(b"a,b\n" * 1000, mtime=0)[:10] + b"\xff" * 40,
    ],
    ids=["text", "cut", "binary", "damaged"],
)
def test_a_file_that_is_no_gzipped_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.csv\.gz: "):
        recording.load(path)


def test_a_missing_folder_or_machine_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--recorded: got .*nowhere, no such folder"):
        recording.find(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"machine\.toml: must say which GPU"):
        recording.machine(tmp_path)


@pytest.mark.parametrize("text", ["[environment]\n", "not toml", "[measured]\ncopy_bandwidth_bytes_per_s = 1.0\n"])
def test_an_incomplete_machine_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "machine.toml").write_text(text)
    with pytest.raises(InputError, match="must say which GPU"):
        recording.machine(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "[environment]\ngpu = 5\n",
        "[environment]\ngpu = '../outside'\n",
        "[environment]\ngpu = 'NVIDIA H200'\ntriton = ['3']\n",
        "environment = 'NVIDIA H200'\n",
        "[environment]\ngpu = 'NVIDIA H200'\n[measured]\ncopy_bandwidth_bytes_per_s = 'fast'\n",
        "[environment]\ngpu = 'NVIDIA H200'\n[measured]\ncopy_bandwidth_bytes_per_s = nan\n",
        "[environment]\ngpu = 'NVIDIA H200'\n[measured]\ncopy_bandwidth_bytes_per_s = -1.0\n",
        f"{'a.' * 3000}b = 1\n",
    ],
)
def test_an_odd_machine_is_refused_in_a_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "machine.toml").write_text(text)
    with pytest.raises(InputError, match=r"machine\.toml: ") as refused:
        recording.machine(tmp_path)
    assert "\n" not in str(refused.value)
