"""Lists which sources of the csgmv ops each known release of SGLang has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CSGMV_SOURCES: Final[Mapping[str, str]] = {
    "0.5.15": "f96e781d5c8fd44d",
    "0.5.21": "3e5c4931f8220187",
    "0.5.23": "a8e4da4e748feff7",
}
"""By release, the hash of what the csgmv ops are made of, and of the backend that calls them (contracts B8)."""
