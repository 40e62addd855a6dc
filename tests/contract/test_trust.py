"""A kernel's file that a storage names runs only where it is the user's own, theirs alone to change, and unchanged."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import shutil
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.contract import registry
from autotune.contract.fingerprint import file_fingerprint, kernel_fingerprint
from autotune.contract.trust import distrust
from autotune.errors import InputError

FILE = Path(__file__).parents[1] / "builders/copying_kernel.py"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    copied = Path(shutil.copy(FILE, tmp_path / "mine.py"))
    copied.chmod(0o644)
    return copied


def test_ones_own_unchanged_file_is_loaded(copy: Path) -> None:
    fingerprint = file_fingerprint(copy)
    kernel = registry.load_stored(f"{copy}:KERNEL", fingerprint)
    assert kernel_fingerprint(kernel) == fingerprint


def _changed(file: Path) -> None:
    file.write_text(f"{file.read_text()}\n# changed\n")


def _made_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (_changed, "which is not what the study was created with"),
    "writable by a group": (lambda file: file.chmod(0o664), "which others can write to"),
    "writable by all": (lambda file: file.chmod(0o646), "which others can write to"),
    "gone": (lambda file: file.unlink(), "which cannot be read \\(No such file"),
    "a pipe": (_made_a_pipe, "which cannot be read \\(a pipe"),
}


@pytest.mark.parametrize(("spoil", "why"), SPOILED.values(), ids=SPOILED)
def test_another_file_is_refused_and_not_run(copy: Path, spoil: Callable[[Path], object], why: str) -> None:
    copy.write_text(f"raise SystemExit('it ran')\n{copy.read_text()}")
    fingerprint = file_fingerprint(copy)
    spoil(copy)
    with pytest.raises(InputError, match=f"{copy}, {why}.*--kernel {copy}"):
        registry.load_stored(f"{copy}:KERNEL", fingerprint)


def test_a_file_of_another_user_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = types.SimpleNamespace(getuid=lambda: copy.stat().st_uid + 1)
    monkeypatch.setattr("autotune.contract.trust.os", other)
    assert distrust(copy, file_fingerprint(copy)) == "which is not your own"


@pytest.mark.parametrize("ending", ["", ":KERNEL"])
def test_a_file_that_the_user_names_is_loaded(copy: Path, ending: str) -> None:
    registry.name_file(f"{copy}{ending}")
    assert registry.load_stored(f"{copy}:KERNEL", "of another one").name == "copy"


def test_a_file_that_the_user_has_loaded_by_name_is_named(copy: Path) -> None:
    kernel = registry.load(f"{copy}:KERNEL")
    assert registry.load_stored(f"{copy}:KERNEL", "of another one") is kernel


def test_naming_no_file_is_refused() -> None:
    with pytest.raises(InputError, match=r"got 'nowhere\.py', no such file"):
        registry.name_file("nowhere.py")


def test_a_registered_kernel_needs_no_word() -> None:
    assert registry.load_stored("lora_shrink", "of any release").name == "lora_shrink"


def test_bytecode_beside_a_file_is_not_run(copy: Path) -> None:
    cached = Path(importlib.util.cache_from_source(str(copy)))
    text = copy.read_text()
    copy.write_text("raise SystemExit('bytecode ran')\n")
    py_compile.compile(str(copy), str(cached), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    copy.write_text(text)
    assert registry.load_stored(f"{copy}:KERNEL", file_fingerprint(copy)).name == "copy"


def test_loading_a_file_leaves_nothing_beside_it(copy: Path) -> None:
    registry.load_stored(f"{copy}:KERNEL", file_fingerprint(copy))
    assert list(copy.parent.iterdir()) == [copy]
