"""Whether a server's sources are known: by syntax, from the path, without an import."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.errors import InputError, NotInstalledError
from autotune.servers.source_check import ServedModules, function_hash, method_hash, source_hash
from autotune.servers.vllm.served_modules import DENSE
from tests.builders import served_vllm

CODE = 'def f(x, y=1):\n    """Adds."""\n    return x + y\n'


def hashed(folder: Path, text: str) -> str:
    file = folder / "module.py"
    file.write_text(text)
    return source_hash([file])


@pytest.mark.parametrize(
    "same",
    [
        CODE.replace('"""Adds."""', '"""Adds two numbers, at length."""'),
        CODE.replace('    """Adds."""\n', ""),
        f"# A licence.\n\n{CODE}\n\n",
        CODE.replace("x + y", "(x   +\n        y)"),
    ],
)
def test_docstrings_comments_and_layout_do_not_count(tmp_path: Path, same: str) -> None:
    assert hashed(tmp_path, same) == hashed(tmp_path, CODE)


@pytest.mark.parametrize(
    "other",
    [
        CODE.replace("x + y", "y + x"),
        CODE.replace("y=1", "y=2"),
        CODE.replace("def f", "def g"),
        f"import torch\n{CODE}",
    ],
)
def test_code_counts(tmp_path: Path, other: str) -> None:
    assert hashed(tmp_path, other) != hashed(tmp_path, CODE)


def test_a_methods_hash_is_that_of_the_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is of what is loaded, the other of a file."""
    file = tmp_path / "layers_of_a_server.py"
    file.write_text(
        "import functools\n\nclass Layer:\n    size = 1\n    @functools.cache\n    def apply(self, x: int) -> int:\n"
        f"        'Applies.'\n        return x + 1\n\n{CODE}"
    )
    monkeypatch.syspath_prepend(tmp_path)
    layer = importlib.import_module("layers_of_a_server").Layer
    assert method_hash(file, "Layer", "apply") == function_hash(layer.apply)
    for owner, method in (("Layer", "f"), ("Other", "apply")):
        with pytest.raises(LookupError, match="has no"):
            method_hash(file, owner, method)


def test_a_package_that_is_absent_is_said_to_be() -> None:
    absent = ServedModules("no_such_server", "torch", [["no_such_server.ops"]], {"1.0": "0"})
    with pytest.raises(NotInstalledError, match=r"no_such_server is not installed here; .*--source builtin"):
        absent.version()


def test_a_release_of_other_sources_is_told_with_the_known_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(served_vllm.install(tmp_path, "0.99.0"))
    origin = DENSE.origin()
    assert (origin.package, origin.version, origin.requires) == ("vllm", "0.99.0", "torch==2.14.0")
    assert origin.source_hash in origin.unknown
    assert "0.33.0" in origin.unknown
    known = replace(DENSE, known={"0.99.0": origin.source_hash})
    assert known.origin().unknown == ""
    assert "vllm" not in sys.modules


def test_two_versions_on_the_path_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(served_vllm.install(tmp_path / "a", "0.32.0"))
    monkeypatch.syspath_prepend(served_vllm.install(tmp_path / "b", "0.33.0"))
    with pytest.raises(InputError, match=r"vllm is on the path in 2 versions \(0.32.0, 0.33.0\)"):
        DENSE.version()


def test_a_release_without_the_modules_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = served_vllm.install(tmp_path)
    (folder / "vllm" / "lora" / "ops" / "triton_ops" / "lora_shrink_op.py").unlink()
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(
        InputError, match=r"has no module vllm.lora.ops.triton_ops.lora_shrink_op; known releases: 0.23.0"
    ):
        DENSE.origin()


def test_what_a_package_sets_for_itself_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernels are to be timed with it; what was set for the import alone is given back."""
    package = tmp_path / "package_with_variables"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os\nos.environ['OF_THE_PACKAGE'] = os.environ['QUIET'] + os.environ['FOR_NOW']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OF_THE_PACKAGE", "")
    monkeypatch.setenv("QUIET", "0")
    monkeypatch.delenv("FOR_NOW", raising=False)
    modules = ServedModules(package.name, "torch", [[]], {}, {"QUIET": "1", "FOR_NOW": "1"})
    modules.load(f"{package.name}.__init__")
    assert [os.environ.get(name) for name in ("OF_THE_PACKAGE", "QUIET", "FOR_NOW")] == ["11", "0", None]
