"""Tells whether calls go into a CUDA graph, which can capture no upload: what a launch needs must be there by then."""

from __future__ import annotations

import torch


def is_on(tensor: torch.Tensor) -> bool:
    """Tells whether what is done with a tensor now is captured."""
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()
