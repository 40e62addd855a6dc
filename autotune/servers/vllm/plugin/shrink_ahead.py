"""Runs the shrink of a linear layer beside the base's product, which it does not depend on.

The shrink reads what the product reads, and what it makes is needed only by the expand, which follows the product. So
it goes to a stream of its own and costs a step nothing but what it takes from the product.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch

SWITCH: Final = "LORA_AUTOTUNE_SHRINK_AHEAD"
"""Set to 0 to have every shrink follow the base's product."""

_METADATA: Final = 7
_NO_LORA: Final = 5
_FEWEST_EAGER_TOKENS: Final = 1024
"""Fewer keep a GPU busy for less time than a CPU takes to launch them, and a second stream adds to that; launches that
are captured cost the CPU nothing."""


class SideStream:
    """A stream of each GPU for what runs beside the current one."""

    def __init__(self) -> None:
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    @contextmanager
    def beside(self, device: torch.device) -> Iterator[None]:
        """Makes it the current stream, behind all that the current one has been given so far."""
        side = self._of(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            yield

    def join(self, device: torch.device) -> None:
        """Has the current stream wait for it."""
        torch.cuda.current_stream(device).wait_stream(self._of(device))

    def _of(self, device: torch.device) -> torch.cuda.Stream:
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return self._streams[device]


class ShrinkAhead:
    """What a linear layer calls ahead of the base's product and after it.

    Both run the server's two ops, whoever runs them. Where nothing is gained by a stream of its own, all is done after
    the product.

    Args:
        after: Does the work of both ops after the product; takes the arguments of the op of the pair.
        side: Where shrinks run.
    """

    def __init__(self, after: Callable[..., None], side: SideStream) -> None:
        self._after = after
        self._side = side
        self._begun: set[int] = set()

    def begin(self, x: torch.Tensor, a: Sequence[torch.Tensor], *rest: Any) -> torch.Tensor:
        """Returns what the shrink makes, or will have made when `end` runs; takes the op's arguments, in its order."""
        shrunk = room(x, a)
        # Memory of one that was never ended may be this one's now.
        self._begun.discard(shrunk.data_ptr())
        if is_gain(x) and not rest[_NO_LORA].item():
            with self._side.beside(x.device):
                torch.ops.vllm.lora_shrink(x, a, shrunk, *rest)
            self._begun.add(shrunk.data_ptr())
        return shrunk

    def end(
        self,
        shrunk: torch.Tensor,
        y: torch.Tensor,
        x: torch.Tensor,
        a: Sequence[torch.Tensor],
        b: Sequence[torch.Tensor],
        *rest: Any,
    ) -> None:
        """Adds to y. It takes x, which the shrink may still read: its memory must not be another's before."""
        if shrunk.data_ptr() not in self._begun:
            self._after(y, x, a, b, *rest)
            return
        self._begun.discard(shrunk.data_ptr())
        self._side.join(x.device)
        *_, add_inputs = rest
        torch.ops.vllm.lora_expand(shrunk, b, y, *rest[:_METADATA], 0, add_inputs)


def is_gain(x: torch.Tensor) -> bool:
    """Tells whether a shrink of these rows ``[M, K]``, or more dims, gains by a stream of its own."""
    rows = x.numel() // x.shape[-1]
    if not x.is_cuda or rows == 0 or not _is_wanted():
        return False
    return rows >= _FEWEST_EAGER_TOKENS or torch.cuda.is_current_stream_capturing()


@functools.cache
def _is_wanted() -> bool:
    return os.environ.get(SWITCH) != "0"


def room(x: torch.Tensor, a: Sequence[torch.Tensor], *_: Any) -> torch.Tensor:
    """Returns an empty tensor for what the shrink makes, ``[S, M, R]`` fp32."""
    return torch.empty(len(a), x.shape[0], a[0].shape[-2], dtype=torch.float32, device=x.device)
