"""The process that workers are forked from has loaded what each of them needs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.builders import served_vllm

ROOT = Path(__file__).parents[2]


def preload(*folders: Path | str, then: str, first: str = "") -> None:
    path = os.pathsep.join(map(str, (ROOT, *folders)))
    program = f"import sys, os\n{first}\nimport autotune.measure.preload\n{textwrap.dedent(then)}"
    variables = {**os.environ, "PYTHONPATH": path, "TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, env=variables)


def test_the_package_of_an_installed_server_is_loaded_once_for_all_workers(tmp_path: Path) -> None:
    then = """
        import torch
        assert "vllm.lora.ops.triton_ops.utils" in sys.modules
        assert "PYTORCH_NVML_BASED_CUDA_CHECK" not in os.environ
        assert not torch.cuda.is_initialized()
    """
    preload(served_vllm.install(tmp_path), then=then)


def test_a_package_that_cannot_be_imported_stops_no_other_kernel(tmp_path: Path) -> None:
    folder = Path(served_vllm.install(tmp_path))
    (folder / "vllm/__init__.py").write_text("import a_module_that_is_not_there\n")
    preload(folder, then="from autotune.contract import registry; registry.load('lora_shrink')")


def test_without_a_server_nothing_is_loaded() -> None:
    preload(then="assert 'vllm' not in sys.modules")


def test_workers_compile_where_their_starter_interprets() -> None:
    preload(then="assert 'TRITON_INTERPRET' not in os.environ")


def test_a_process_that_has_loaded_triton_goes_on_as_it_began() -> None:
    preload(first="import triton", then="assert os.environ['TRITON_INTERPRET'] == '1'")
