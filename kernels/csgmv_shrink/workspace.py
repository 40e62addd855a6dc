"""The memory that thread blocks meet in which share K."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from autotune.kernels.common.segmentation import Segmentation
from autotune.kernels.common.tiles import cdiv, next_pow2
from autotune.kernels.csgmv_shrink.splitting import parts_of_k
from autotune.servers.plugin import capture

_NARROWEST: Final = 16
"""The fewest columns of a block."""
_LEAST_ARRIVALS: Final = 1024


@dataclass(frozen=True)
class Workspace:
    """What the blocks of a launch leave for each other.

    Attributes:
        partials: ``[n]`` fp32: the sum of each part, for every row and column.
        arrivals: ``[n]`` int32: how many blocks have left theirs, by segment and columns; all 0 between launches, of
            which no two that share it may run at the same time.
    """

    partials: torch.Tensor
    arrivals: torch.Tensor

    @classmethod
    def of(cls, partials: int, arrivals: torch.Tensor) -> Workspace:
        """Takes memory for so many sums."""
        return cls(torch.empty(partials, dtype=torch.float32, device=arrivals.device), arrivals)

    @property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.partials, self.arrivals

    def holds(self, partials: int, arrivals: int) -> bool:
        return partials <= self.partials.numel() and arrivals <= self.arrivals.numel()


def most_partials(batch: Segmentation, k: int, columns: int) -> int:
    """Returns how many sums parts of K leave at most, whatever the config; 0 where none has blocks share K."""
    parts = parts_of_k(batch, k, across=1)
    return 0 if parts == 1 else parts * batch.tokens * columns


def most_tiles(segments: int, columns: int) -> int:
    """Returns how many arrivals are counted at most, whatever the config."""
    return segments * cdiv(columns, _NARROWEST)


def no_arrivals(count: int, device: str | torch.device) -> torch.Tensor:
    return torch.zeros(next_pow2(max(_LEAST_ARRIVALS, count)), dtype=torch.int32, device=device)


class Arrivals:
    """The counts of a process's layers, by where their weights lie.

    Eager calls of one layer have a count for each stream, for those of two streams may run at the same time. Graphs
    have one of their own: they share the memory of their activations, so no two are replayed at the same time. It is
    made with the first eager call, for what is made in a capture is set to 0 in a replay alone.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[int, int | None], torch.Tensor] = {}
        """By the address of the weights and the stream; None for graphs."""
        self._outgrown: list[torch.Tensor] = []
        """Graphs may hold their addresses."""

    def of(self, weights: torch.Tensor, count: int) -> torch.Tensor | None:
        """Returns at least so many; None in a capture, where there are not as many by then."""
        if weights.device.type == "meta":
            return no_arrivals(count, weights.device)
        where = weights.data_ptr()
        if capture.is_on(weights):
            found = self._counts.get((where, None))
            return None if found is None or found.numel() < count else found
        stream = torch.cuda.current_stream(weights.device).cuda_stream if weights.is_cuda else 0
        found = self._counts.get((where, stream))
        if found is not None and found.numel() >= count:
            return found
        for key in ((where, stream), (where, None)):
            self._grow(key, count, weights.device)
        return self._counts[where, stream]

    def _grow(self, key: tuple[int, int | None], count: int, device: torch.device) -> None:
        found = self._counts.get(key)
        if found is None or found.numel() < count:
            self._counts[key] = no_arrivals(count, device)
            self._outgrown += [] if found is None else [found]
