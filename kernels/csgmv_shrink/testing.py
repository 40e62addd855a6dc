"""Problems the conformance suite runs: small enough for Triton's interpreter, and some that fill a GPU."""

from __future__ import annotations

from autotune.kernels.csgmv_shrink.problem import CsgmvShrinkProblem

PROBLEMS = {
    "csgmv_shrink": (
        CsgmvShrinkProblem("float16", 16, 40, 16, 1, k=100),
        CsgmvShrinkProblem("float16", 32, 70, 8, 3, num_loras=3, adapter_ranks=(8, 4, 8), k=96),
        CsgmvShrinkProblem("float16", 64, 90, 16, 2, num_loras=3, active_loras=2, adapter_ranks=(16, 8, 16), k=64),
        CsgmvShrinkProblem("float16", 128, 50, 5, 3, num_loras=2, adapter_ranks=(5, 3), k=33),
        CsgmvShrinkProblem("float16", 16, 12, 16, 2, num_loras=5, active_loras=4, workload="decode", k=64),
        CsgmvShrinkProblem("float16", 16, 9, 16, 1, num_loras=3, workload="decode", k=1100),
        CsgmvShrinkProblem("float16", 16, 700, 64, 3, num_loras=3, adapter_ranks=(64, 8, 32), k=32),
        CsgmvShrinkProblem("bfloat16", 16, 33, 8, 2, num_loras=2, k=48),
        CsgmvShrinkProblem("bfloat16", 128, 3000, 64, 3, num_loras=4, adapter_ranks=(64, 16, 8, 12), k=1024),
        CsgmvShrinkProblem("float16", 16, 4096, 64, 3, k=1024),
        CsgmvShrinkProblem("bfloat16", 16, 200, 64, 3, num_loras=32, workload="decode", k=4096),
        CsgmvShrinkProblem("bfloat16", 16, 64, 16, 1, num_loras=8, workload="decode", k=12_288),
    )
}
