"""SGLang's chunked expand: shrunk tokens through their adapters' stacked B matrices, added to the base output."""

from __future__ import annotations

from autotune.kernels.csgmv_expand.launcher import csgmv_expand

__all__ = ["csgmv_expand"]
