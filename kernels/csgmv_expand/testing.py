"""Problems the conformance suite runs: small enough for Triton's interpreter, and some that fill a GPU."""

from __future__ import annotations

from autotune.kernels.csgmv_expand.problem import CsgmvExpandProblem

PROBLEMS = {
    "csgmv_expand": (
        CsgmvExpandProblem("float16", 16, 40, 16, 1, slice_widths=(100,)),
        CsgmvExpandProblem("float16", 32, 70, 16, 3, num_loras=3, adapter_ranks=(16, 8, 16), slice_widths=(64, 32, 32)),
        CsgmvExpandProblem("float16", 64, 90, 32, 2, num_loras=3, active_loras=2, slice_widths=(40, 40)),
        CsgmvExpandProblem("float16", 128, 50, 5, 3, num_loras=2, adapter_ranks=(5, 3), slice_widths=(33, 9, 17)),
        CsgmvExpandProblem(
            "float16", 16, 12, 16, 2, num_loras=5, active_loras=4, workload="decode", slice_widths=(32, 16)
        ),
        CsgmvExpandProblem("bfloat16", 16, 33, 8, 2, num_loras=2, slice_widths=(48, 48)),
        CsgmvExpandProblem(
            *("bfloat16", 16, 3000, 64, 3), num_loras=4, adapter_ranks=(64, 16, 8, 12), slice_widths=(2048, 1024, 1024)
        ),
        CsgmvExpandProblem("float16", 16, 4096, 64, 3, slice_widths=(2048, 1024, 1024)),
        CsgmvExpandProblem(
            "bfloat16", 16, 200, 64, 3, num_loras=32, workload="decode", slice_widths=(4096, 1024, 1024)
        ),
    )
}
