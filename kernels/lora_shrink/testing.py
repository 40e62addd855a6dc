"""Problems the conformance suite runs: small enough for Triton's interpreter, and one that fills a GPU."""

from __future__ import annotations

from autotune.kernels.lora_shrink.problem import LoraShrinkProblem

PROBLEMS = {
    "lora_shrink": (
        LoraShrinkProblem("float16", m=33, k=100, n=16, num_slices=1, max_loras=4),
        LoraShrinkProblem("float16", m=1, k=96, n=8, num_slices=3, max_loras=2),
        LoraShrinkProblem("float16", 20, 128, 32, num_slices=2, max_loras=3, active_loras=2, sort_by_lora_id=False),
        LoraShrinkProblem("bfloat16", m=17, k=161, n=20, num_slices=2, max_loras=1),
        LoraShrinkProblem("bfloat16", m=1000, k=4096, n=64, num_slices=3, max_loras=8),
    )
}
