"""The fingerprint of a kernel is that of its source."""

from __future__ import annotations

import shutil
from pathlib import Path

from autotune.contract import registry
from autotune.contract.fingerprint import kernel_fingerprint
from tests.builders.double_study import FILE, KERNEL


def test_the_kernel_fingerprint_changes_with_its_source(tmp_path: Path) -> None:
    copy = Path(shutil.copy(FILE, tmp_path / "copy.py"))
    same = registry.load(f"{copy}:KERNEL")
    assert kernel_fingerprint(same) == kernel_fingerprint(KERNEL)
    copy.write_text(copy.read_text() + "# changed\n")
    assert kernel_fingerprint(same) != kernel_fingerprint(KERNEL)


def test_kernels_of_one_folder_tree_have_their_own_fingerprints() -> None:
    prints = {name: kernel_fingerprint(registry.load(name)) for name in registry.installed().names()}
    folders = {type(registry.load(name)).__module__ for name in prints}
    assert len(set(prints.values())) == len(folders)
