"""Tables as the servers' files hold them."""

from __future__ import annotations

from typing import Any


def nested(*levels: Any) -> Any:
    """Nests the last value under the keys before it: ``nested("5", "1", x)`` is ``{"5": {"1": x}}``."""
    *keys, value = levels
    for key in reversed(keys):
        value = {key: value}
    return value
