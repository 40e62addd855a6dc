"""A stand-in for vLLM's package: ops of its names and signatures, in plain torch, over a kernel that only notes its
launch."""

from __future__ import annotations

from pathlib import Path

from autotune.servers.source_check import method_hash
from autotune.servers.vllm import layer_classes

PACKAGE = Path(__file__).parent / "files"
_ELSEWHERE = {
    "envs": "envs.py",
    "punica_gpu": "lora/punica_wrapper/punica_gpu.py",
    "base_linear": "lora/layers/base_linear.py",
}
"""Where files lie that are not among the ops."""

_PLATFORMS = """
class CudaPlatform:
    @classmethod
    def get_punica_wrapper(cls):
        return "vllm.lora.punica_wrapper.punica_gpu.PunicaWrapperGPU"


current_platform = CudaPlatform()
"""

_RUNNER = """
class LoRAModelRunnerMixin:
    def _set_active_loras(self, prompt_lora_mapping, token_lora_mapping, lora_requests, mapping_type=None):
        return "active"
"""


def layer_hashes() -> dict[str, tuple[str, ...]]:
    """Returns the hashes of the methods of its layers, in the place of known releases'."""
    file = PACKAGE / "base_linear.txt"
    return {name: (method_hash(file, layer_classes.BASE, name),) for name in layer_classes.KNOWN}


def install(folder: Path, version: str = "0.33.0") -> Path:
    """Lays the package out in a folder that goes on the path; returns the folder."""
    ops = folder / "vllm" / "lora" / "ops" / "triton_ops"
    ops.mkdir(parents=True)
    for package in (ops, *ops.parents[:3]):
        (package / "__init__.py").write_text("")
    for source in PACKAGE.glob("*.txt"):
        if source.stem in _ELSEWHERE:
            continue
        (ops / f"{source.stem}.py").write_text(source.read_text())
    (folder / "vllm" / "triton_utils.py").write_text("HAS_TRITON = True\n")
    (folder / "vllm" / "platforms.py").write_text(_PLATFORMS)
    for name in ("punica_wrapper", "layers"):
        package = folder / "vllm" / "lora" / name
        package.mkdir()
        (package / "__init__.py").write_text("")
    for name, place in _ELSEWHERE.items():
        (folder / "vllm" / place).write_text((PACKAGE / f"{name}.txt").read_text())
    worker = folder / "vllm" / "v1" / "worker"
    worker.mkdir(parents=True)
    for package in (worker, worker.parent):
        (package / "__init__.py").write_text("")
    (worker / "lora_model_runner_mixin.py").write_text(_RUNNER)
    info = folder / f"vllm-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: vllm\nVersion: {version}\nRequires-Dist: torch==2.14.0\n"
    )
    return folder
