"""Fixtures of all tests; the options ``--device`` and ``--kernel`` are the conformance suite's."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests.builders import bytecode, interpreter

if TYPE_CHECKING:
    from alembic.config import Config
    from click.testing import Result

    from autotune.measure.recording import Recording

T = TypeVar("T")

pytest_plugins = ("autotune.testing.plugin",)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--served",
        metavar="DIR",
        type=Path,
        help="a folder of servers' packages, SERVER-VERSION each",
    )


def pytest_configure(config: pytest.Config) -> None:
    bytecode.keep_for_session(config)
    # How long an example takes depends on what else runs on the machine.
    settings.register_profile("any pace", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any pace")
    # Sums of a few elements, on each of which a second thread spends ten times as long as the first. Torch, numpy and
    # the processes that tests start read it when they are loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Looks for no cycles while tests are collected: that takes a third of the time, and what is made there stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    """Leaves the interpreter what it clears at its end: Triton's modules tell what they find left."""
    gc.unfreeze()


@pytest.fixture
def served_folder(request: pytest.FixtureRequest) -> Path:
    """Returns the folder of servers' packages; skips a test where none is given."""
    folder: Path | None = request.config.getoption("--served")
    return folder.resolve() if folder else pytest.skip("needs --served DIR")


@pytest.fixture
def served(served_folder: Path) -> Callable[[str], Path]:
    """Returns what finds a release's package, such as ``vllm-0.33.0``; skips a test whose release is not there."""

    def find(release: str) -> Path:
        package = served_folder / release
        return package if package.is_dir() else pytest.skip(f"no {release} in {served_folder}")

    return find


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], T]], T]:
    """Looks until something is so, and returns it; fails when it takes longer than anything here may."""

    def wait(condition: Callable[[], T], limit_s: float = 300.0) -> T:
        end_s = time.monotonic() + limit_s
        while not (found := condition()):
            assert time.monotonic() < end_s, "waited in vain"
            time.sleep(0.02)
        return found

    return wait


@pytest.fixture(scope="session")
def wait_gone() -> Callable[[int], None]:
    """Waits for any process, child or not, to end."""

    def wait(pid: int, limit_s: float = 300.0) -> None:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            assert select.select([descriptor], [], [], limit_s)[0], f"process {pid} lives on"
        finally:
            os.close(descriptor)

    return wait


@pytest.fixture(scope="session")
def installed_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the tool's wheel and unpacks it; returns the folder, which serves as a site-packages of its own."""
    folder, checkout = tmp_path_factory.mktemp("wheel"), Path(__file__).parents[1]
    source, site = folder / "source", folder / "site"
    for name in ("autotune", "kernels", "studies"):
        shutil.copytree(checkout / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for file in checkout.iterdir():
        if file.is_file() and file.name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(file, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run([*command, "--wheel-dir", folder, source], check=True, capture_output=True)
    (wheel,) = folder.glob("lora_autotune-*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    return site


@pytest.fixture(scope="session", autouse=True)
def _migrations_read_once() -> Iterator[None]:
    """Has Optuna's migration scripts read once: they take three quarters of the time to open a storage."""
    from alembic.script import ScriptDirectory

    read, kept = ScriptDirectory.from_config, dict[str | None, ScriptDirectory]()

    def read_once(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location not in kept:
            kept[location] = read(config)
        return kept[location]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", read_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_storage() -> Iterator[None]:
    """Spares Optuna most of the time to store a trial."""
    from tests.builders import quick_storage

    with pytest.MonkeyPatch.context() as patch:
        quick_storage.install(patch)
        yield


@pytest.fixture(autouse=True)
def _quick_interpreter() -> None:
    """Spares Triton's interpreter a third of its time."""
    interpreter.make_quicker()


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps every test off the checkout, the user's cache folder and the user's settings."""
    _keep_apart(monkeypatch, tmp_path)


def _keep_apart(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.chdir(folder)
    patch.setenv("AUTOTUNE_CACHE_DIR", str(folder / "cache"))
    ours = ("LORA_AUTOTUNE_CONFIG_DIR", "LORA_AUTOTUNE_KERNELS", "LORA_AUTOTUNE_TRACE")
    for name in ("AUTOTUNE_STORAGE", "VLLM_TUNED_CONFIG_FOLDER", *ours):
        patch.delenv(name, raising=False)


@dataclass(frozen=True)
class Cli:
    """The command line, called in process, with a storage and a cache folder of its own."""

    folder: Path

    SHRINK = "--op-type lora_shrink --batch-size 16 --hidden-size 5120 --lora-rank 16 --num-loras 4"
    EXPAND = "--op-type lora_expand --batch-size 16 --hidden-size 5120 --lora-rank 16 --num-loras 4"
    """Two problems that have recordings."""

    @classmethod
    @contextlib.contextmanager
    def once(cls, folder: Path) -> Iterator[Cli]:
        """Calls it in a folder that is made for several tests, each of which gets a copy."""
        with pytest.MonkeyPatch.context() as patch:
            _keep_apart(patch, folder)
            yield cls(folder)

    def take(self, made: Cli) -> Cli:
        """Copies all that was made in another one's folder."""
        shutil.copytree(made.folder, self.folder, dirs_exist_ok=True)
        return self

    @property
    def database(self) -> Path:
        return self.folder / "studies.db"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.database}"

    @property
    def env(self) -> dict[str, str]:
        return {"AUTOTUNE_STORAGE": self.url, "AUTOTUNE_CACHE_DIR": str(self.folder / "cache"), "COLUMNS": "200"}

    def __call__(self, *words: str | Path) -> Result:
        """Runs a command: strings are split at blanks, paths are not."""
        from click.testing import CliRunner

        from autotune.cli.main import main

        arguments = [part for word in words for part in (word.split() if isinstance(word, str) else [str(word)])]
        return CliRunner(env=self.env).invoke(main, arguments, catch_exceptions=False)

    def ok(self, *words: str | Path) -> str:
        """Returns what a command that succeeds prints on stdout."""
        result = self(*words)
        assert result.exit_code == 0, result.output
        return result.stdout


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture(scope="session")
def _finished_once(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    with Cli.once(tmp_path_factory.mktemp("finished")) as made:
        for flags in (Cli.SHRINK, Cli.EXPAND):
            made.ok("study create --backend replay", flags)
        made.ok("study run --trials 15 --stop none --sampler random")
    return made


@pytest.fixture
def finished(cli: Cli, _finished_once: Cli) -> Cli:
    """Returns the command line with two finished replay studies in its storage: shrink, then expand."""
    return cli.take(_finished_once)


@pytest.fixture(scope="session")
def recorded_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder of two recorded spaces of one made-up kernel."""
    from tests.builders.toy_spaces import write_toy_spaces

    folder = tmp_path_factory.mktemp("recorded")
    write_toy_spaces(folder)
    return folder


@pytest.fixture(scope="session")
def toy(recorded_dir: Path) -> Recording:
    from autotune.measure.recording import load
    from tests.builders.toy_spaces import TOY

    return load(recorded_dir / f"{TOY}.csv.gz")


@pytest.fixture(scope="session")
def small(recorded_dir: Path) -> Recording:
    from autotune.measure.recording import load
    from tests.builders.toy_spaces import SMALL

    return load(recorded_dir / f"{SMALL}.csv.gz")
