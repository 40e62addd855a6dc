"""Lists which sources of the LoRA ops each known release of vLLM has, and in what the releases differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

DENSE_SOURCES: Final[Mapping[str, str]] = {
    "0.23.0": "00a850df5cb9cfba",
    "0.28.0": "00a850df5cb9cfba",
    "0.31.0": "ff80c95b80363729",
    "0.32.0": "40692c65b066943f",
    "0.33.0": "2dd8b21e9c36aaae",
}
"""By release, the hash of what the dense ops are made of (contracts A12)."""

MOE_SOURCES: Final[Mapping[str, str]] = {
    "0.23.0": "1d3174f43644733d",
    "0.28.0": "259f83df9a63dfd6",
    "0.31.0": "daa94c7b81b92721",
    "0.32.0": "0c0ee31663cdf324",
    "0.33.0": "b67d3bef643f49d6",
}
"""By release, the hash of what fused MoE LoRA is made of (contracts A13)."""

_ONE_STAGE_SINCE = (0, 33)
_TWO_KERNELS_SINCE = (0, 32)
_HALF_AS_IT_IS_SINCE = (0, 33)


@dataclass(frozen=True)
class Release:
    """A release of vLLM, and what its ops do that others do not."""

    version: str

    @property
    def one_stage_on_hopper(self) -> bool:
        """Whether expand has one stage for fp32 x on Hopper (contracts A3, triton#9433)."""
        return self._number >= _ONE_STAGE_SINCE

    @property
    def two_kernels_unsharded(self) -> bool:
        """Whether experts of a large rank run two kernels without fully sharded LoRA, which may then overwrite their
        output (contracts A13)."""
        return self._number >= _TWO_KERNELS_SINCE

    @property
    def two_kernels_in_half(self) -> bool:
        """Whether the two kernels multiply fp16 as it is, and not as bf16 (contracts A13)."""
        return self._number >= _HALF_AS_IT_IS_SINCE

    @property
    def _number(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.version.split(".")[:2])
