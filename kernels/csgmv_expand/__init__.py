"""SGLang's chunked expand: shrunk tokens through their adapters' stacked B matrices, added to the base output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune.kernels.common.offer import offer

if TYPE_CHECKING:
    from autotune.kernels.csgmv_expand.launcher import csgmv_expand

__all__ = ["csgmv_expand"]

__getattr__ = offer(__name__, {"csgmv_expand": "launcher"})
