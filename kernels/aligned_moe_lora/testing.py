"""Problems the conformance suite runs: small enough for Triton's interpreter, and some that fill a GPU."""

from __future__ import annotations

from autotune.kernels.aligned_moe_lora.problem import AlignedMoeProblem

_PROBLEMS = (
    # Two slices, an adapter and some experts without tokens.
    AlignedMoeProblem("float16", 9, 40, 16, 24, 2, num_experts=3, top_k=2, max_loras=2, block_m=16),
    AlignedMoeProblem(
        "float16", 5, 33, 20, 18, 1, num_experts=4, top_k=3, max_loras=2, active_loras=1, add_inputs=False, block_m=32
    ),
    # All tokens on two experts; several blocks of columns to share out.
    AlignedMoeProblem("float16", 20, 33, 16, 97, 1, 4, top_k=1, max_loras=1, expert_counts=(0, 9, 0, 1), block_m=16),
    AlignedMoeProblem("bfloat16", 17, 161, 20, 96, 2, num_experts=5, top_k=2, max_loras=3, block_m=64),
    # Experts of three GPUs, of which this one has two; and more of a token than it has.
    AlignedMoeProblem("float16", 9, 40, 16, 24, 2, num_experts=2, top_k=2, max_loras=2, ep=3, block_m=16),
    AlignedMoeProblem("float16", 6, 33, 8, 18, 1, num_experts=1, top_k=3, max_loras=2, add_inputs=False, ep=4),
    AlignedMoeProblem("bfloat16", 512, 1024, 64, 768, 2, num_experts=128, top_k=8, max_loras=2, routing="zipf"),
    AlignedMoeProblem("bfloat16", 64, 4096, 64, 7168, 2, num_experts=8, top_k=2, max_loras=4, block_m=32),
    AlignedMoeProblem("bfloat16", 1024, 2048, 64, 768, 2, num_experts=128, top_k=8, max_loras=4, block_m=128),
)

PROBLEMS = {"aligned_moe_lora_gate_up": _PROBLEMS, "aligned_moe_lora_down": _PROBLEMS}
