"""The process that workers are forked from has loaded what each of them needs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.builders import served_vllm

ROOT = Path(__file__).parents[2]


def preload(folder: Path, then: str, first: str = "") -> None:
    """Loads it in a process whose path has a folder more; the process begins as an interpreting one does."""
    path = os.pathsep.join(filter(None, (str(ROOT), str(folder), os.environ.get("PYTHONPATH"))))
    program = f"import sys, os\n{first}\nimport autotune.measure.preload\n{textwrap.dedent(then)}"
    variables = {**os.environ, "PYTHONPATH": path, "TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, env=variables)


def test_the_package_of_an_installed_server_is_loaded_once_for_workers_which_compile(tmp_path: Path) -> None:
    then = """
        import torch
        assert "vllm.lora.ops.triton_ops.utils" in sys.modules
        assert "PYTORCH_NVML_BASED_CUDA_CHECK" not in os.environ
        assert not torch.cuda.is_initialized()
        assert "TRITON_INTERPRET" not in os.environ, "workers compile where their starter interprets"
    """
    preload(served_vllm.install(tmp_path), then)


def test_where_a_package_cannot_be_imported_and_triton_was_loaded_the_others_go_on_as_they_began(
    tmp_path: Path,
) -> None:
    folder = Path(served_vllm.install(tmp_path))
    (folder / "vllm/__init__.py").write_text("import a_module_that_is_not_there\n")
    then = """
        from autotune.contract import registry
        registry.load("lora_shrink")
        assert "vllm" not in sys.modules
        assert os.environ["TRITON_INTERPRET"] == "1"
    """
    preload(folder, then, first="import triton")
