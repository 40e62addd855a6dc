"""Times what sorts a batch's pairs for the experts' LoRA, once a layer, beside the kernels that use it.

Of the installed vLLM its own op is timed, where it is there; else our own alignment, which stands in for it and is made
of many small launches, so that it is an upper bound.

PYTHONPATH=. python docs/run_alignment.py OUT.json
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from autotune.environment import current_environment
from autotune.kernels.fused_moe_lora.alignment import align
from autotune.kernels.fused_moe_lora.problem import BLOCK_MS, MoeProblem
from autotune.kernels.fused_moe_lora.routing import Routing, random_routing
from autotune.measure.timing import CudaGraphTimer

_EXPERTS: dict[str, Any] = {"hidden": 2048, "intermediate": 768, "num_slices": 2, "num_experts": 128, "top_k": 8}
_TOKENS = (16, 64, 256, 1024, 8192)
_GRAPH_US = 2000.0
_SAMPLES = 15


def main() -> None:
    op = _servers_op()
    rows = []
    for m in _TOKENS:
        routing = random_routing(MoeProblem("bfloat16", m, rank=16, max_loras=4, **_EXPERTS), 0).to("cuda")
        for block_m in BLOCK_MS:
            run = partial(align, routing, block_m) if op is None else _served(op, routing, block_m)
            run()
            timer = CudaGraphTimer([run], _GRAPH_US)
            us = median(timer.sample_us() for _ in range(_SAMPLES))
            rows.append({"m": m, "block_m": block_m, "us": round(us, 2)})
            print(rows[-1], flush=True)
    data = {"of": "ours" if op is None else "vllm", "environment": current_environment().known, "rows": rows}
    Path(sys.argv[1]).write_text(json.dumps(data))


def _servers_op() -> Callable[..., None] | None:
    try:
        found: Callable[..., None] = importlib.import_module("vllm._custom_ops").moe_lora_align_block_size
    except ImportError:
        return None
    return found


def _served(op: Callable[..., None], routing: Routing, block_m: int) -> Callable[[], None]:
    """Returns a call of the server's op, over arrays as `add_lora_w13` makes them (docs/contracts.md, A13)."""
    ours = align(routing, block_m)
    sorted_ids, expert_ids, ends = ours.sorted_ids, ours.expert_ids, ours.num_tokens_post_padded
    mapping, enabled, loras = routing.token_lora_mapping, routing.enabled, routing.max_loras
    enabled = torch.cat([enabled, torch.zeros_like(enabled[:1])])
    widths = (sorted_ids.shape[1], expert_ids.shape[1])

    def run() -> None:
        expert_ids.fill_(-1)
        op(
            *(routing.topk_ids, mapping, routing.num_experts, block_m, loras, *widths),
            *(sorted_ids.view(-1), expert_ids.view(-1), ends, enabled, routing.lora_ids, None),
        )

    return run


if __name__ == "__main__":
    main()
