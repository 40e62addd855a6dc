"""A call that is launched again as a CUDA graph does it."""

from __future__ import annotations

from collections.abc import Callable

import torch


def captured(run: Callable[[], object], device: str) -> Callable[[], object]:
    """Returns what launches the same again: a CUDA graph, or on the CPU the call itself."""
    if device == "cpu":
        return run
    run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
