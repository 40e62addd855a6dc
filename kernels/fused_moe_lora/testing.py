"""Problems the conformance suite runs: small enough for Triton's interpreter, and some that fill a GPU."""

from __future__ import annotations

from autotune.kernels.fused_moe_lora.problem import MoeProblem

_ANY_PATH = (
    # Sorted, two slices, an adapter and some experts without tokens.
    MoeProblem("float16", m=9, hidden=40, rank=16, intermediate=24, num_slices=2, num_experts=3, top_k=2, max_loras=2),
    MoeProblem("float16", 5, 33, 20, 18, 1, num_experts=4, top_k=3, max_loras=2, active_loras=1, add_inputs=False),
    # Naive, one expert a token; wide enough for thread blocks that share its rows.
    MoeProblem("float16", m=1, hidden=290, rank=8, intermediate=300, num_slices=2, num_experts=8, top_k=1, max_loras=1),
    MoeProblem("float16", 2, 64, 32, 24, 1, num_experts=16, top_k=2, max_loras=2, add_inputs=False, routing="zipf"),
    # All tokens on two experts.
    MoeProblem("float16", 20, 33, 16, 17, 1, 4, top_k=1, max_loras=1, expert_counts=(0, 9, 0, 1)),
    MoeProblem(
        "bfloat16", m=17, hidden=161, rank=20, intermediate=96, num_slices=2, num_experts=5, top_k=2, max_loras=3
    ),
    # Experts of three GPUs, of which this one has two; and more of a token than it has.
    MoeProblem("float16", 9, 40, 16, 24, 2, num_experts=2, top_k=2, max_loras=2, ep=3),
    MoeProblem("float16", 6, 33, 8, 18, 1, num_experts=1, top_k=3, max_loras=2, add_inputs=False, ep=4),
    MoeProblem("bfloat16", 512, 1024, 64, 768, 2, num_experts=128, top_k=8, max_loras=2, routing="zipf"),
    MoeProblem("bfloat16", 64, 4096, 64, 7168, 2, num_experts=8, top_k=2, max_loras=4),
    MoeProblem("bfloat16", 8, 1024, 64, 768, 2, num_experts=128, top_k=8, max_loras=4),
)
_TWO_KERNELS = (
    # Fully sharded over several GPUs: odd shards of the rank and of the hidden size.
    MoeProblem("float16", 7, 68, 20, 23, 2, num_experts=3, top_k=2, max_loras=2, fully_sharded=True, tp=4),
    MoeProblem("float16", 1, 48, 8, 17, 1, 4, top_k=3, max_loras=1, fully_sharded=True, tp=2, add_inputs=False),
    MoeProblem("float16", 9, 40, 8, 24, 2, 2, top_k=2, max_loras=2, fully_sharded=True, tp=2, ep=2),
    MoeProblem("bfloat16", 64, 2048, 64, 384, 2, num_experts=128, top_k=8, max_loras=4, fully_sharded=True, tp=4),
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
