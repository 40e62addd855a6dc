"""Reads the flags of ``config diff --measure``: what keys do not tell of the problems behind them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from autotune.cli.flags.command import said, spelled, worded
from autotune.config.entry_problem import Assumptions
from autotune.contract.source import AUTO
from autotune.errors import InputError


@dataclass(frozen=True)
class AssumptionFlags:
    """What keys do not tell, by the names of the flags that describe problems."""

    dtype: str | None = worded("float16 or bfloat16.  [default: torch.float16]", default=None)
    num_loras: int | None = worded(
        "SGLang: adapters of the pool; vLLM's keys tell.  [default: 1, of mixed 8]", default=None
    )
    slice_widths: tuple[int, ...] | None = worded(
        "Of the expands that they fit.  [default: equal, if sure]", default=None
    )
    num_experts: int | None = worded("Experts of an MoE layer; its entries need it.", default=None)
    top_k_num: int | None = worded("Experts a token is routed to; MoE entries need it.", default=None)
    block_m: int | None = worded("Rows that vLLM aligns to; MoE entries of the plug-in need it.", default=None)
    num_active_loras: int | None = None
    sort_by_lora_id: int | None = None
    expand_add_inputs: int | None = None
    fully_sharded: bool = False
    tp: int | None = None
    ep: bool = False
    routing: str | None = None
    path: str | None = None
    total_tokens: int | None = None
    workload: str | None = None
    decode_requests: tuple[int, ...] | None = None
    adapter_ranks: tuple[int, ...] | None = None
    adapter_shares: str | None = None
    source: str | None = None
    allow_unknown_server: bool = False

    def read(self, measure: bool) -> Assumptions:
        """Returns what is assumed.

        Raises:
            InputError: If a flag is given without ``--measure``.
        """
        if not measure and (given := said(self)):
            raise InputError(f"{spelled(given[0])}: is about measuring; add --measure, or leave it out")
        values = asdict(self)
        path = values.pop("path") or "auto"
        source, allowed = values.pop("source") or AUTO, values.pop("allow_unknown_server")
        numbers = {name: int(values[name]) for name in ("fully_sharded", "ep")}
        return Assumptions(values | numbers, path, source, allowed)
