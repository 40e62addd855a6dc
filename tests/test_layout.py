"""The layout guard: what stands where, who may import whom, and what is installed."""

from __future__ import annotations

import ast
import configparser
import graphlib
import importlib
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "autotune"

# Lowest first: a module imports from its own room or from lower ones (law 2).
ROOMS = (
    "errors",
    "paths",
    "contract",
    "environment",
    "model",
    "servers",
    "measure",
    "study",
    "search",
    "run",
    "plan",
    "export",
    "config",
    "report",
    "bench",
    "testing",
    "api",
    "cli",
    "__main__",
)
# What a kernel folder may know of the tool.
KERNEL_MAY_IMPORT = {"errors", "contract", "servers", "kernels"}


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


def test_imports_point_down() -> None:
    upward = [
        f"{module} imports {imported}"
        for module, imports in import_graph().items()
        for imported in imports
        if layer(imported) > layer(module)
    ]
    assert not upward


def test_imports_have_no_cycles() -> None:
    assert list(graphlib.TopologicalSorter(import_graph()).static_order())


def test_the_tool_imports_no_particular_kernel() -> None:
    found = [
        f"{module}: {name}"
        for module, names in imports_of_package()
        for name in names
        if name.startswith("autotune.kernels")
    ]
    assert not found


@pytest.mark.parametrize("file", sorted(ROOT.glob("kernels/*/*.py")), ids=lambda f: f"{f.parent.name}/{f.name}")
def test_a_kernel_knows_the_contract_and_its_own_folder(file: Path) -> None:
    for name in imported_names(file):
        top, _, rest = name.partition(".")
        if top == "autotune":
            assert rest.split(".")[0] in KERNEL_MAY_IMPORT, name
        if name.startswith("autotune.kernels."):
            assert name.split(".")[2] in (file.parent.name, "common"), name


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


def import_graph() -> dict[str, set[str]]:
    """Our modules, kernels left out, and which of ours each imports; names without ``autotune.``."""
    modules = {module_name(file) for file in python_files()}
    graph: dict[str, set[str]] = {}
    for module, names in imports_of_package():
        ours = {name.removeprefix("autotune.") for name in names if name.startswith("autotune.")}
        graph[module] = {name if name in modules else name.rpartition(".")[0] for name in ours} - {""}
    return graph


def imports_of_package() -> Iterator[tuple[str, set[str]]]:
    for file in python_files():
        if module := module_name(file):
            yield module, imported_names(file)


def python_files() -> list[Path]:
    """Of the tool itself; the links lead elsewhere."""
    return [file for file in sorted(PACKAGE.rglob("*.py")) if not {"kernels", "studies"} & set(file.parts[-4:-1])]


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def imported_names(file: Path) -> set[str]:
    """Everything a file imports, as ``package.module.name``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer(module: str) -> int:
    top = module.split(".")[0]
    assert top in ROOMS, f"autotune.{top} is no room of the house: add it to ROOMS"
    return ROOMS.index(top)


def tracked_files() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listing.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink() and path.suffix != ".gz"]
