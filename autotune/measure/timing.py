"""Times an operation on a device: a timer prepares one config and then gives one sample after another."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

_CHANCES = 5

Operation = Callable[[], object]
"""One run of the operation on one argument set."""


class Timer(Protocol):
    """Times one config; `sample_us` gives microseconds a launch."""

    def sample_us(self) -> float: ...


class CudaGraphTimer:
    """Replays of a CUDA graph over all argument sets, so that neither Python nor a warm L2 cache is timed.

    Every set must have been touched before (pointer tables are uploaded on first use, and a capture allows no copies).

    Args:
        operations: The operation on each argument set.
        graph_us: The walk over the sets is repeated inside the graph until a replay takes about this long.
    """

    def __init__(self, operations: Sequence[Operation], graph_us: float) -> None:
        self._graph = self._capture(operations)
        self._launches = len(operations)
        self._graph.replay()
        once_us = self._replay_us()
        if (repeats := int(graph_us // max(once_us, 1.0))) > 1:
            self._graph = self._capture(list(operations) * repeats)
            self._launches *= repeats
            self._graph.replay()

    def sample_us(self) -> float:
        return self._replay_us() / self._launches

    def _replay_us(self) -> float:
        return _elapsed_us(self._graph.replay)

    @staticmethod
    def _capture(operations: Sequence[Operation]) -> torch.cuda.CUDAGraph:
        """Captures one walk.

        Not by ``torch.cuda.graph``, which gives the allocator's cache back to the driver. That takes milliseconds where
        outputs are large, and what is replayed next is up to 30% slower than ever after (csgmv expand, H100).
        """
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.stream(_capture_stream()):
            graph.capture_begin()
            try:
                for operation in operations:
                    operation()
            finally:
                graph.capture_end()
        return graph


class WallTimer:
    """Wall time of plain calls, for kernels that run on the CPU (tests, Triton's interpreter)."""

    def __init__(self, operations: Sequence[Operation], graph_us: float) -> None:
        self._operations = operations

    def sample_us(self) -> float:
        start_s = time.perf_counter()
        for operation in self._operations:
            operation()
        return (time.perf_counter() - start_s) / len(self._operations) * 1e6


@functools.cache
def _capture_stream() -> Any:
    """Makes a stream to capture on: the default one cannot be captured."""
    stream: Any = torch.cuda.Stream
    return stream()


def _elapsed_us(work: Operation) -> float:
    event: Any = torch.cuda.Event
    start, end = event(enable_timing=True), event(enable_timing=True)
    start.record()
    work()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * 1e3


def eager_us(operation: Operation, device: str, enough_us: float = math.inf) -> float:
    """Times a few plain calls and returns the fastest, host overhead included: enough to tell the hopeless from the
    rest.

    A call can take a hundred times as long as the next, where the host has other work (compilers on every core). So
    one above `enough_us` is given further chances.
    """
    fastest_us = math.inf
    for _ in range(_CHANCES):
        start_s = time.perf_counter()
        operation()
        if device == "cuda":
            torch.cuda.synchronize()
        fastest_us = min(fastest_us, (time.perf_counter() - start_s) * 1e6)
        if fastest_us <= enough_us:
            break
    return fastest_us


def copy_bandwidth_bytes_per_s() -> float:
    """Measures the device-to-device copy bandwidth, bytes read plus bytes written: the memory ceiling that floors refer
    to.

    Timed outside a graph, where a copy would go to the slower copy engines.
    """
    free_bytes, _ = torch.cuda.mem_get_info()
    source = torch.randint(256, (min(1 << 32, free_bytes // 4),), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    samples_us = sorted(_elapsed_us(lambda: target.copy_(source)) for _ in range(9))
    return 2 * source.numel() / (samples_us[4] * 1e-6)
