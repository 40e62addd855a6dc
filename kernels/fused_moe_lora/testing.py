"""Problems the conformance suite runs: small enough for Triton's interpreter, and some that fill a GPU."""

from __future__ import annotations

from autotune.kernels.fused_moe_lora.problem import MoeProblem

_ANY_PATH = (
    # Sorted, two slices, an adapter and some experts without tokens.
    MoeProblem("float16", m=9, hidden=100, rank=16, intermediate=40, num_slices=2, num_experts=3, top_k=2, max_loras=2),
    MoeProblem("float16", 5, 48, 20, 33, 1, num_experts=4, top_k=3, max_loras=3, active_loras=1, add_inputs=False),
    # Naive; one expert a token.
    MoeProblem("float16", m=1, hidden=72, rank=8, intermediate=32, num_slices=2, num_experts=8, top_k=1, max_loras=1),
    MoeProblem("float16", 2, 64, 32, 24, 1, num_experts=16, top_k=2, max_loras=2, add_inputs=False, routing="zipf"),
    # All tokens on two experts.
    MoeProblem("float16", 20, 33, 16, 17, 1, 4, top_k=1, max_loras=1, expert_counts=(0, 9, 0, 1)),
    MoeProblem(
        "bfloat16", m=17, hidden=161, rank=20, intermediate=96, num_slices=2, num_experts=5, top_k=2, max_loras=3
    ),
    MoeProblem("bfloat16", 512, 2048, 64, 768, 2, num_experts=128, top_k=8, max_loras=4, routing="zipf"),
    MoeProblem("bfloat16", 64, 8192, 64, 14336, 2, num_experts=8, top_k=2, max_loras=8),
    MoeProblem("float16", 16, 1024, 64, 768, 2, num_experts=128, top_k=8, max_loras=8),
)
_TWO_KERNELS = (
    MoeProblem("float16", 3, 40, 32, 24, 2, num_experts=2, top_k=2, max_loras=2, fully_sharded=True, add_inputs=False),
    MoeProblem("bfloat16", 100, 2048, 320, 768, 1, num_experts=16, top_k=4, max_loras=2, fully_sharded=True),
    MoeProblem("bfloat16", 4, 1024, 256, 512, 2, num_experts=32, top_k=2, max_loras=4),
)

PROBLEMS = {
    "fused_moe_lora_gate_up_shrink": _ANY_PATH + _TWO_KERNELS,
    "fused_moe_lora_gate_up_expand": _ANY_PATH + _TWO_KERNELS,
    "fused_moe_lora_gate_up_one_shot": _ANY_PATH,
    "fused_moe_lora_down_shrink": _ANY_PATH + _TWO_KERNELS,
    "fused_moe_lora_down_expand": _ANY_PATH + _TWO_KERNELS,
    "fused_moe_lora_down_one_shot": _ANY_PATH,
}
