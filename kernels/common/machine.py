"""Tells what a drop-in's default depends on of the GPU that is there; in Triton's interpreter, of an H200."""

from __future__ import annotations

import functools
from typing import Any

import torch

from autotune.contract.gpu import H200


def multiprocessors() -> int:
    return _of_cuda().multi_processor_count if torch.cuda.is_available() else H200.sms


def shared_bytes() -> int:
    """Returns the most shared memory that a block may ask for."""
    return _of_cuda().shared_memory_per_block_optin if torch.cuda.is_available() else H200.shared_bytes


@functools.cache
def _of_cuda() -> Any:
    return torch.cuda.get_device_properties()
