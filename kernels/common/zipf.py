"""How ragged loads are: popularity falls as 1/rank, as that of a multi-adapter server's adapters does."""

from __future__ import annotations

import torch


def zipf_split(total: int, parts: int) -> torch.Tensor:
    """Splits `total` into `parts` positive integers in proportion to 1, 1/2, 1/3, ..."""
    edges = (1 / torch.arange(1, parts + 1, dtype=torch.float64)).cumsum(0)
    ends = (edges / edges[-1] * (total - parts)).round().long()
    return 1 + ends.diff(prepend=ends.new_zeros(1))
