"""Which ``num_stages`` a server forces."""

from __future__ import annotations


def forced_stages(capability: tuple[int, int], float32: bool) -> int | None:
    """Returns the only ``num_stages`` allowed, if any: vLLM forces one for fp32 x on Hopper (triton#9433, contracts
    A3).

    Args:
        float32: The type of x.
    """
    return 1 if float32 and capability == (9, 0) else None
