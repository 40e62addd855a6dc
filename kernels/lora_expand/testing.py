"""Problems the conformance suite runs: small enough for Triton's interpreter, and one that fills a GPU."""

from __future__ import annotations

from autotune.kernels.lora_expand.problem import LoraExpandProblem

PROBLEMS = {
    "lora_expand": (
        LoraExpandProblem("float16", m=33, k=16, n=100, num_slices=1, max_loras=4),
        LoraExpandProblem("float16", m=1, k=8, n=64, num_slices=2, max_loras=2, add_inputs=False),
        LoraExpandProblem("float16", 20, 32, 96, 3, 3, 2, sort_by_lora_id=False, slice_widths=(96, 32, 16)),
        LoraExpandProblem("float16", m=17, k=20, n=41, num_slices=2, max_loras=1, slice_widths=(13, 41)),
        LoraExpandProblem("bfloat16", m=17, k=64, n=80, num_slices=2, max_loras=3, add_inputs=False),
        LoraExpandProblem("bfloat16", 1000, 64, 4096, num_slices=3, max_loras=8, slice_widths=(4096, 1024, 1024)),
    )
}
