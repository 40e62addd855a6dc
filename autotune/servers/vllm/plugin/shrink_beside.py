"""Runs the shrink of a linear layer beside the base's product, which it does not depend on.

The shrink reads what the product reads, and only the expand, which follows the product, needs what it makes. So it goes
to a stream of its own, where it may start when its input is there. It is handed to the GPU after the product: the
product's blocks come first, and the shrink takes what they leave.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch

from autotune.servers.plugin import capture
from autotune.servers.vllm import layer_classes
from autotune.servers.vllm.plugin import metadata, override

_is_wanted: Final = functools.cache(layer_classes.is_wanted)

MOST_CAPTURED: Final = 384
"""The product of some more rows leaves the shrink too little of the GPU: measured on an H200, 512 rows gain nothing."""

FEWEST: Final = 1024
"""From here on the product hides the shrink again, and a GPU is busy for longer than a CPU takes to launch for two
streams; launches that are captured cost the CPU nothing."""


class SideStream:
    """A stream of each GPU for what runs beside the current one."""

    def __init__(self) -> None:
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def mark(self, device: torch.device) -> Any:
        """Marks what the current stream has been given so far."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(device))
        return event

    def has_work(self, device: torch.device) -> bool:
        """Tells whether the GPU has not come to the end of what the current stream was given."""
        return not torch.cuda.current_stream(device).query()

    @contextmanager
    def after(self, mark: Any, device: torch.device) -> Iterator[None]:
        """Makes it the current stream, behind a mark; has the one that was current wait for it afterwards."""
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        current, side = torch.cuda.current_stream(device), self._streams[device]
        side.wait_event(mark)
        torch.cuda.set_stream(side)
        try:
            yield
        finally:
            torch.cuda.set_stream(current)
            current.wait_stream(side)


class ShrinkBeside:
    """What a linear layer calls ahead of the base's product and after it.

    They run the server's two ops, whoever runs those. Where a stream of its own is no gain, one call after the product
    does all.

    Args:
        at_once: Does the work of both ops; takes the arguments of the op of the pair.
        side: Where shrinks run.
    """

    def __init__(self, at_once: Callable[..., None], side: SideStream) -> None:
        self._at_once = at_once
        self._side = side
        self._begun: dict[int, Any] = {}
        """Marks of x, by the address of the buffer that its shrink will write into."""
        self._met: set[int] = set()
        """Addresses of the weights that were met."""

    def begin(self, x: torch.Tensor, a: Sequence[torch.Tensor], *rest: Any) -> torch.Tensor:
        """Is called ahead of the product: marks that x is there, and returns what the shrink will write into."""
        shrunk = empty_buffer(x, a)
        # Memory of one that was never ended may be this one's now.
        self._begun.pop(shrunk.data_ptr(), None)
        if is_gain(x) and self._is_prepared(a[0]) and not rest[metadata.NO_LORA].item() and self._is_behind(x):
            self._begun[shrunk.data_ptr()] = self._side.mark(x.device)
        return shrunk

    def _is_prepared(self, weight: torch.Tensor) -> bool:
        """Leaves weights that are met first to the one call, which prepares them: in the server's profiling run, and
        never in a capture."""
        met = weight.data_ptr() in self._met
        self._met.add(weight.data_ptr())
        return met or capture.is_on(weight)

    def _is_behind(self, x: torch.Tensor) -> bool:
        """Tells whether the GPU has work of the past left; else it waits for the CPU, which has more to do for two
        streams."""
        return capture.is_on(x) or self._side.has_work(x.device)

    def end(
        self,
        shrunk: torch.Tensor,
        y: torch.Tensor,
        x: torch.Tensor,
        a: Sequence[torch.Tensor],
        b: Sequence[torch.Tensor],
        *rest: Any,
    ) -> None:
        """Is called after the product y, and adds to it."""
        mark = self._begun.pop(shrunk.data_ptr(), None)
        if mark is None:
            self._at_once(y, x, a, b, *rest)
            return
        tokens, (scale, add_inputs) = rest[: metadata.COUNT], rest[metadata.COUNT :]
        with self._side.after(mark, x.device):
            override.call("lora_shrink", x, a, shrunk, *tokens, scale)
        override.call("lora_expand", shrunk, b, y, *tokens, 0, add_inputs)


def is_gain(x: torch.Tensor) -> bool:
    """Tells whether a shrink of these rows ``[M, K]``, or of more dims, gains by a stream of its own."""
    rows = x.numel() // x.shape[-1]
    if not x.is_cuda or rows == 0 or not _is_wanted():
        return False
    return rows >= FEWEST or (rows <= MOST_CAPTURED and capture.is_on(x))


def empty_buffer(x: torch.Tensor, a: Sequence[torch.Tensor], *_: Any) -> torch.Tensor:
    """Returns what the shrink writes into, ``[S, M, R]`` fp32, as it happens to be."""
    return torch.empty(len(a), x.shape[0], a[0].shape[-2], dtype=torch.float32, device=x.device)
