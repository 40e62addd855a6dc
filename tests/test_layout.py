"""The layout guard: what stands where, who may import whom, and what is installed."""

from __future__ import annotations

import ast
import configparser
import graphlib
import importlib
import re
import shutil
import statistics
import subprocess
import tomllib
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

import make_architecture

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "autotune"

# What stands right under autotune/, besides packages and the links to kernels/ and studies/.
FILES = {"__init__.py", "__main__.py", "environment.py", "errors.py", "paths.py", "py.typed"}
# What a kernel folder may know of the tool.
KERNEL_MAY_IMPORT = {"errors", "contract", "servers", "kernels"}
# What it runs besides its own: the pair does what the two do, and runs them where it does not win.
KERNEL_RUNS = {"lora_linear": ("lora_shrink", "lora_expand"), "aligned_moe_lora": ("fused_moe_lora",)}
MOST_LINES = 400
MEDIAN_LINES = 150
# Tests of what no single module does.
STORIES = {
    "cli/bad_input",
    "cli/group",
    "cli/missing_flags",
    "cli/sglang",
    "docs/examples",
    "docs/readme",
    "docs/site",
    "faults/crowd",
    "faults/full_disk",
    "faults/kills",
    "faults/malformed",
    "faults/malformed_storage",
    "faults/process_kills",
    "kernels/conformance",
    "kernels/recordings",
    "measure/faults",
    "plan/worked_models",
    "run/resume",
    "run/sharing",
    "search/plain_optuna",
    "search/samplers",
}


@pytest.mark.parametrize("name", ["kernels", "studies"])
def test_top_folders_are_no_packages_and_are_linked_into_ours(name: str) -> None:
    assert not (ROOT / name / "__init__.py").exists()
    link = PACKAGE / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name


@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "theirs first"])
def test_another_package_called_kernels_always_wins(tmp_path: Path, ours_first: bool) -> None:
    theirs = tmp_path / "kernels"
    theirs.mkdir()
    (theirs / "__init__.py").touch()
    path = [str(ROOT), str(tmp_path)] if ours_first else [str(tmp_path), str(ROOT)]
    found = PathFinder.find_spec("kernels", path)
    assert found is not None
    assert found.origin == str(theirs / "__init__.py")


def test_kernels_and_recordings_are_found_under_our_name() -> None:
    assert importlib.import_module("autotune.kernels.lora_shrink.kernel").KERNELS
    from autotune.measure import recording

    assert recording.find()


def test_only_rooms_stand_under_the_package() -> None:
    # A folder that an older checkout left behind holds nothing but Python's caches.
    there = {
        path.name for path in PACKAGE.iterdir() if not path.is_dir() or path.is_symlink() or any(path.rglob("*.py"))
    }
    packages = {name for name in there if (PACKAGE / name / "__init__.py").is_file()}
    assert there - packages == FILES | {"kernels", "studies"}
    assert packages | {"environment", "errors", "paths", "kernels"} == set(make_architecture.ROOMS)
    assert len(make_architecture.ROOMS) <= 20


def test_a_room_says_in_one_or_two_sentences_what_it_holds() -> None:
    for room in set(make_architecture.ROOMS) - {"kernels"}:
        assert 1 <= len(re.findall(r"[.!?](?=\s|$)", make_architecture.summary(room))) <= 2, room


def test_imports_point_down() -> None:
    order = (*make_architecture.ROOMS, "__main__")
    upward = [
        f"{module} imports {imported}"
        for module, imports in make_architecture.imports_of_modules().items()
        for imported in imports
        if module and order.index(make_architecture.room_of(imported)) > order.index(make_architecture.room_of(module))
    ]
    assert not upward


def test_imports_have_no_cycles() -> None:
    assert list(graphlib.TopologicalSorter(make_architecture.imports_of_modules()).static_order())


def test_the_tool_imports_no_particular_kernel() -> None:
    imports = make_architecture.imports_of_rooms()
    assert not [room for room in imports if "kernels" in imports[room]]


def test_the_architecture_page_is_up_to_date() -> None:
    assert make_architecture.PAGE.read_text() == make_architecture.page(), "run: python docs/make_architecture.py"


def test_no_two_classes_have_one_name() -> None:
    found: dict[str, list[str]] = {}
    for file in source_files():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(str(file.relative_to(ROOT)))
    assert not {name: files for name, files in found.items() if len(files) > 1}


def test_files_are_short() -> None:
    lines = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in source_files()}
    assert not {name: count for name, count in lines.items() if count > MOST_LINES}
    assert statistics.median(lines.values()) <= MEDIAN_LINES


def test_tests_mirror_the_tree() -> None:
    """Test files are called after a module of their room, or after it and an aspect of it: test_module[_aspect].py."""
    files = sorted((ROOT / "tests").glob("*/**/test_*.py"))
    assert {story(file) for file in files if not mirrored(file)} == STORIES


def mirrored(test: Path) -> bool:
    room = test.parent.relative_to(ROOT / "tests")
    words = test.stem.removeprefix("test_").split("_")
    names = {"_".join(words[:count]) for count in range(1, len(words) + 1)}
    folders = [ROOT / "docs"] if str(room) == "docs" else [PACKAGE / room]
    if str(room) == "faults":
        folders = []  # They are of no module, but of all.
    if str(room) == "kernels":
        folders.append(ROOT / "kernels/common")
    return any(path.stem in names for folder in folders for path in folder.iterdir())


def story(test: Path) -> str:
    return str(test.with_name(test.stem.removeprefix("test_")).relative_to(ROOT / "tests"))


def test_a_kernel_knows_the_contract_and_its_own_folder() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in sorted(ROOT.glob("kernels/*/*.py"))
        for name in make_architecture.imported_names(file)
        if not kernel_may_import(file.parent.name, name)
    ]
    assert not found


def kernel_may_import(folder: str, name: str) -> bool:
    top, *rest = name.split(".")
    if top != "autotune":
        return True
    return rest[0] in KERNEL_MAY_IMPORT and (
        rest[0] != "kernels" or rest[1] in (folder, "common", *KERNEL_RUNS.get(folder, ()))
    )


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    places = re.compile(r"(?<![\w.}])/(?:home|root|Users|work)/\w")
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in tracked_files()
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), start=1)
        if file != Path(__file__) and places.search(line)
    ]
    assert not found


def test_setup_cfg_and_pyproject_share_no_fact() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert set(project) == {"build-system", "tool"}
    assert "setuptools" not in project["tool"]
    assert all(section.partition(".")[0] in ("metadata", "options") for section in setup.sections())


def test_a_wheel_brings_kernels_recordings_and_licence_and_claims_one_name(installed_wheel: Path) -> None:
    for pattern in ("kernels/*/*.py", "studies/*/*", "autotune/testing/*.py", "autotune/py.typed"):
        files = [file.relative_to(ROOT) for file in ROOT.glob(pattern)]
        assert files
        for file in files:
            assert (installed_wheel / "autotune" / str(file).removeprefix("autotune/")).is_file(), file
    assert {path.name for path in installed_wheel.iterdir() if path.suffix != ".dist-info"} == {"autotune"}
    (about,) = installed_wheel.glob("*.dist-info")
    assert "License-Expression: Apache-2.0" in (about / "METADATA").read_text()
    assert (about / "licenses/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def source_files() -> list[Path]:
    """Returns the modules of the tool and of the kernels; the search follows no link."""
    return [*sorted(PACKAGE.rglob("*.py")), *sorted((ROOT / "kernels").rglob("*.py"))]


def tracked_files() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listing.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink() and path.suffix != ".gz"]
