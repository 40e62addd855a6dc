"""SGLang's chunked shrink: tokens through their adapters' stacked A matrices, hidden size to rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.kernels.common.offer import offer

if TYPE_CHECKING:
    from autotune.kernels.csgmv_shrink.launcher import csgmv_shrink

__all__ = ["csgmv_shrink"]

__getattr__ = offer(__name__, {"csgmv_shrink": "launcher"})
