"""The GPU that a server finds on this machine, by whose name it reads files."""

from __future__ import annotations

import torch

from autotune.contract.gpu import INTERPRETER


def gpu_name() -> str:
    """Returns its name as the driver has it; that of Triton's interpreter where there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else INTERPRETER.name


def vllm_file(of: str) -> str:
    """Returns the name of vLLM's file of an op on this GPU, such as ``NVIDIA_H200_SHRINK.json``."""
    return f"{gpu_name().replace(' ', '_')}_{of}.json"
