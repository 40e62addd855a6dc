"""The experts' kernel in the place of vLLM's, with tuned configs or its own default.

Rows are those that the server has aligned, with its block_m: an entry that was timed with another one does not count.
Pairs that are not sorted have blocks of a fixed size, and no entry.
"""

from __future__ import annotations

from autotune.contract import Call, Config, Launch
from autotune.kernels.aligned_moe_lora.defaults import LaunchShape, default_config, servers_is_faster
from autotune.kernels.aligned_moe_lora.launcher import aligned_launches
from autotune.kernels.common.machine import multiprocessors, shared_bytes
from autotune.kernels.fused_moe_lora.drop_in import FusedMoeDropIn
from autotune.kernels.fused_moe_lora.one_shot import MoeOneShotArguments
from autotune.kernels.fused_moe_lora.problem import BLOCK_MS
from autotune.servers.vllm import facts


class AlignedMoeDropIn(FusedMoeDropIn):
    """Launches an entry, or a default by the shape; pairs that are not sorted are in blocks of a fixed size."""

    required = facts.ALIGNED_KEYS

    def lookup(self, arguments: MoeOneShotArguments) -> Call | None:
        """Returns the lookup by the sizes of contracts A17; w2 is told by its routing weights."""
        if arguments.batch.naive:
            return None
        (loras, _, rank, k), n, slices = arguments.a[0].shape, arguments.b[0].shape[2], len(arguments.a)
        op, hidden, i = (facts.ALIGNED_W2, n, k) if arguments.routed else (facts.ALIGNED_W13, k, n)
        sizes = {"m": arguments.batch.routing.topk_ids.shape[0], "k": rank, "n": hidden, "i": i}
        return Call(facts.NAME, op, {"max_loras": loras, "num_slices": slices, **sizes})

    def default_config(self, arguments: MoeOneShotArguments) -> Config:
        (adapters, experts, rank, k), n = arguments.a[0].shape, arguments.b[0].shape[2]
        tokens, top_k = arguments.batch.routing.topk_ids.shape
        shape = LaunchShape(
            block_m=next(iter(arguments.batch.alignments), BLOCK_MS[0]),
            slices=len(arguments.a),
            adapters=adapters,
            rank=rank,
            k=k,
            n=n,
            tokens=tokens,
            top_k=top_k,
            experts=experts,
            sms=multiprocessors(),
            shared_bytes=shared_bytes(),
        )
        return default_config(shape)

    def fitted(self, arguments: MoeOneShotArguments, config: Config) -> Config | None:
        """Returns an entry that was timed with the block_m of the rows; None for any other, which nobody has timed on
        them."""
        return config if config["block_m"] in arguments.batch.alignments else None

    def without_entry(self, arguments: MoeOneShotArguments) -> str:
        block_m, experts = next(iter(arguments.batch.alignments), 0), arguments.a[0].shape[1]
        if not servers_is_faster(block_m, arguments.batch.routing.pairs, experts):
            return ""
        return f"pairs fill blocks of {block_m} rows and no entry was timed with them: it is faster than our default"

    def launches(self, arguments: MoeOneShotArguments, config: Config) -> list[Launch]:
        return aligned_launches(arguments, config)


DROP_IN = AlignedMoeDropIn()
