"""The fingerprint of a kernel is that of its source."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import autotune
from autotune.contract import registry
from autotune.contract.fingerprint import file_fingerprint, kernel_fingerprint
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


@pytest.mark.parametrize(
    ("kernel", "changed", "counts"),
    [
        ("lora_shrink", "lora_shrink/launcher.py", True),
        ("lora_shrink", "common/tiles.py", True),
        ("lora_linear", "lora_shrink/launcher.py", True),
        ("aligned_moe_lora", "fused_moe_lora/one_shot.py", True),
        ("lora_shrink", "lora_shrink/drop_in.py", False),
        ("lora_shrink", "lora_shrink/README.md", False),
        ("lora_shrink", "common/csgmv.py", False),
        ("lora_shrink", "lora_linear/launcher.py", False),
        ("lora_linear", "lora_shrink/drop_in.py", False),
    ],
)
def test_a_kernels_version_is_that_of_what_is_timed(tmp_path: Path, kernel: str, changed: str, counts: bool) -> None:
    """Files that were tuned before outlive a change of what hands the kernel to a server, and of other kernels."""
    kernels = tmp_path / "kernels"
    shutil.copytree(Path(autotune.__file__).parent / "kernels", kernels)
    before = file_fingerprint(kernels / kernel / "kernel.py")
    assert before == file_fingerprint(Path(autotune.__file__).parent / "kernels" / kernel / "kernel.py")
    file = kernels / changed
    file.write_text(file.read_text() + "\n")
    assert (file_fingerprint(kernels / kernel / "kernel.py") != before) == counts


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ("from .near import x", "near.py"),
        ("from .near import *", "near.py"),
        ("from . import near", "near.py"),
        ("from .. import mine", "__init__.py"),
        ("from ..mine.near import x", "near.py"),
        ("def late():\n    from .near import x", "near.py"),
        ("try:\n    import triton\nexcept ImportError:\n    import mine.near as near", "near.py"),
        ("from mine import near", "near.py"),
        ("from mine import x", "__init__.py"),
        ("import kernels.mine.near", "near.py"),
        ("from kernels.kernels.mine.near import x", "near.py"),
        ("from .near import x", "near/__init__.py"),
        ("from .near.part import x", "near/part.py"),
    ],
)
def test_modules_beside_a_kernel_of_ones_own_are_part_of_it(tmp_path: Path, line: str, near: str) -> None:
    folder = tmp_path / "kernels" / "kernels" / "mine"
    (folder / near).parent.mkdir(parents=True)
    (folder / "kernel.py").write_text(f"import os\n{line}\n")
    (folder / near).write_text("from . import kernel\nx = 1\n")
    before = file_fingerprint(folder / "kernel.py")
    (folder / near).write_text("x = 2\n")
    assert file_fingerprint(folder / "kernel.py") != before


@pytest.mark.parametrize("text", ["def", "-" * 100_000 + "1", "x = 1\0"], ids=["half", "deep", "zero"])
def test_a_file_that_is_no_python_has_no_fingerprint(tmp_path: Path, text: str) -> None:
    (tmp_path / "kernel.py").write_text(text)
    with pytest.raises(ValueError, match=r"kernel.py: is no Python|null"):
        file_fingerprint(tmp_path / "kernel.py")


def test_an_import_from_beyond_all_folders_is_of_nothing_here(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text("def never():\n    from " + "." * 200 + "a import b\n")
    assert file_fingerprint(tmp_path / "kernel.py")
