"""Random tensors of a problem, drawn in order from one seed."""

from __future__ import annotations

import torch


class Normal:
    """Draws tensors of normally distributed numbers.

    Args:
        device: Where they lie. On ``meta`` they are only shaped.
        dtype: Their type, unless a call says otherwise.
        seed: Two sources of one seed and device draw the same.
    """

    def __init__(self, device: str, dtype: torch.dtype, seed: int) -> None:
        self._device = device
        self._dtype = dtype
        self._generator = None if device == "meta" else torch.Generator(device).manual_seed(seed)

    def __call__(self, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
        dtype = dtype or self._dtype
        # Random numbers on meta would load torch's compiler: seconds, in every compile process.
        if self._generator is None:
            return torch.empty(shape, dtype=dtype, device=self._device)
        return torch.randn(shape, generator=self._generator, dtype=dtype, device=self._device)

    def weights(self, *shape: int) -> torch.Tensor:
        """Makes random weights whose products over the last dimension are about as large as what they multiply."""
        return self(*shape).mul_(shape[-1] ** -0.5)
