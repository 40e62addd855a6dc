"""Device tables of weight addresses: how one launch reaches the separate tensors of several slices."""

from __future__ import annotations

from collections.abc import Sequence

import torch

ALIGNMENT_BYTES = 16
"""What the kernels promise the compiler about every address of a table, for 16-byte loads."""


def address_table(weights: Sequence[torch.Tensor], *facts: Sequence[int]) -> torch.Tensor:
    """Builds a table of the weights' addresses, then further facts about them: ``[1 + len(facts), S]`` int64.

    The table belongs to exactly these tensors: keep it with them (a cache keyed by address would outlive them and
    serve stale strides), and build it before a CUDA-graph capture, for the upload cannot be captured.
    """
    device = weights[0].device
    rows = [[w.data_ptr() for w in weights], *(list(fact) for fact in facts)]
    if misaligned := [address for address in rows[0] if address % ALIGNMENT_BYTES]:
        raise ValueError(f"weights must start on {ALIGNMENT_BYTES}-byte addresses, got {misaligned}")
    if device.type == "meta":
        return torch.empty(len(rows), len(weights), dtype=torch.int64, device=device)
    return torch.tensor(rows, dtype=torch.int64, device=device)
