"""Problems the conformance suite runs: small enough for Triton's interpreter, and some that fill a GPU."""

from __future__ import annotations

from autotune.kernels.lora_linear.problem import LoraLinearProblem

PROBLEMS = {
    "lora_linear": (
        LoraLinearProblem("float16", m=33, k=200, n=100, num_slices=1, max_loras=4, lora_rank=16),
        LoraLinearProblem("float16", m=1, k=96, n=64, num_slices=2, max_loras=2, add_inputs=False, lora_rank=8),
        LoraLinearProblem(
            "float16", 20, 128, 96, 3, 3, 2, sort_by_lora_id=False, slice_widths=(96, 32, 16), lora_rank=32
        ),
        LoraLinearProblem(
            "bfloat16", m=17, k=161, n=41, num_slices=2, max_loras=1, slice_widths=(13, 41), lora_rank=20
        ),
        LoraLinearProblem("bfloat16", 64, 4096, 4096, 3, 8, slice_widths=(4096, 1024, 1024), lora_rank=64),
        LoraLinearProblem("bfloat16", m=16, k=12288, n=4096, num_slices=1, max_loras=4, lora_rank=16),
    )
}
