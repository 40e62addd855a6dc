"""SGLang's chunked shrink: tokens through their adapters' stacked A matrices, hidden size to rank."""

from __future__ import annotations

from autotune.kernels.csgmv_shrink.launcher import csgmv_shrink

__all__ = ["csgmv_shrink"]
