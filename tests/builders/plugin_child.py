"""What a script in a stand-in of a server's process begins with: vLLM's ops, registered with the real schemas over the
stand-in package that is on the path, and calls of them by the server's entry."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch

from autotune.servers.source_check import source_hash
from autotune.servers.vllm import served_modules

_METADATA = (
    "Tensor token_lora_mapping, Tensor token_indices_sorted_by_lora_ids, Tensor num_tokens_per_lora, "
    "Tensor lora_token_start_loc, Tensor lora_ids, Tensor no_lora_flag_cpu, Tensor num_active_loras"
)
_TILES = ", ".join(
    f"SymInt {op}_{name}"
    for op in ("shrink", "expand")
    for name in ("block_size_m", "block_size_n", "block_size_k", "group_size_m", "num_warps", "num_stages", "split_k")
)
SCHEMAS = {
    "lora_shrink": f"(Tensor inputs, Tensor[] lora_a_weights, Tensor(a2!) output_tensor, {_METADATA}, "
    "float scaling) -> ()",
    "lora_expand": f"(Tensor inputs, Tensor[] lora_b_weights, Tensor(a2!) output_tensor, {_METADATA}, "
    "SymInt offset_start=0, bool add_inputs=False) -> ()",
    "fused_moe_lora": "(Tensor(a0!) output, Tensor qcurr_hidden_states, Tensor[] lora_a_stacked, "
    "Tensor[] lora_b_stacked, Tensor topk_weights, Tensor? sorted_token_ids, Tensor expert_ids, "
    "Tensor? num_tokens_post_padded, Tensor token_lora_mapping, SymInt max_lora_rank, SymInt top_k_num, "
    f"Tensor lora_ids, Tensor num_active_loras, Tensor adapter_enabled, {_TILES}, bool mul_routed_weight=False, "
    "bool fully_sharded=False, SymInt offset=0, bool add_inputs=True) -> ()",
}
"""As vLLM 0.23.0 to 0.33.0 infer them of their functions."""

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
"""Where the tensors are: the tests' own process sets the variable with ``--device cpu``."""

MAPPING, ADAPTERS, WIDTHS, RANK, HIDDEN = (0, -1, 2, 2, 0, 1, -1), 3, (48, 16, 16), 8, 64

own_calls: list[str] = []
"""The calls that the server's own functions got."""


def know_the_stand_in() -> None:
    """Makes the stand-in's sources count as those of a known release."""
    for name in ("DENSE", "MOE"):
        modules = getattr(served_modules, name)
        known = {"0.33.0": source_hash(modules.files().values())}
        setattr(served_modules, name, dataclasses.replace(modules, known=known))


def register_ops() -> list[torch.library.Library]:
    """Defines the ops as the server does; its own functions note that they were called."""
    library = torch.library.Library("vllm", "FRAGMENT")  # type: ignore[no-untyped-call]
    for op, schema in SCHEMAS.items():
        module: Any = importlib.import_module(f"vllm.lora.ops.triton_ops.{op}_op")
        module.get_lora_op_configs = lambda *_, **__: {"split_k": 1, "num_warps": 4, "num_stages": 1}
        own = _noting(op, getattr(module, f"_{op}"))
        setattr(module, f"_{op}", own)
        library.define(op + schema)  # type: ignore[no-untyped-call]
        library.impl(op, own, DEVICE.upper())  # type: ignore[no-untyped-call]
    return [library]


def _noting(op: str, own: Callable[..., None]) -> Callable[..., None]:
    def noting(*args: Any, **kwargs: Any) -> None:
        own_calls.append(op)
        own(*args, **kwargs)

    return noting


def metadata(mapping: Sequence[int] = MAPPING) -> tuple[torch.Tensor, ...]:
    """Returns the seven tensors of an op's metadata."""
    from autotune.kernels.common.metadata import LoraMetadata

    made = LoraMetadata.build(torch.tensor(mapping), ADAPTERS, DEVICE)
    ids = made.lora_ids
    groups = torch.tensor([ids.numel()], dtype=torch.int32)
    index = (made.token_lora_mapping, made.token_indices_sorted_by_lora_ids, made.num_tokens_per_lora)
    return (*index, made.lora_token_start_loc, ids, torch.tensor([made.no_lora]), groups)


@dataclasses.dataclass
class Layer:
    """A layer's tensors: x ``[M, K]``, A and B by slice, the low-rank product, the output."""

    x: torch.Tensor
    a: list[torch.Tensor]
    b: list[torch.Tensor]
    low: torch.Tensor
    out: torch.Tensor

    @classmethod
    def random(cls, dtype: torch.dtype = torch.float16, tokens: int = len(MAPPING)) -> Layer:
        generator = torch.Generator().manual_seed(1)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator).to(DEVICE, dtype)

        a = [normal(ADAPTERS, 1, RANK, HIDDEN) for _ in WIDTHS]
        b = [normal(ADAPTERS, 1, width, RANK) for width in WIDTHS]
        low = torch.full((len(WIDTHS), tokens, RANK), 7.0, device=DEVICE)
        return cls(normal(tokens, HIDDEN), a, b, low, normal(tokens, sum(WIDTHS)))

    def run(self, mapping: Sequence[int] = MAPPING, add: bool = True) -> Layer:
        """Runs shrink and expand by the server's entry."""
        meta = metadata(mapping)
        torch.ops.vllm.lora_shrink(self.x, self.a, self.low, *meta, 1.0)
        torch.ops.vllm.lora_expand(self.low, self.b, self.out, *meta, offset_start=0, add_inputs=add)
        return self

    def equals(self, other: Layer) -> bool:
        """Tells whether two layers wrote the same but for rounding: sums of 64 products, of magnitude 60, which the GPU
        adds up truncating to fp32, and outputs of half precision."""
        pairs = ((self.low, other.low, (64 + 8 + 2) * 2.0**-23 * 60), (self.out, other.out, 0.13))
        return all(torch.allclose(one, two, rtol=0, atol=most) for one, two, most in pairs)


@dataclasses.dataclass
class Experts:
    """The first product of a layer of experts, with sorted pairs: tensors of our kernel's, rows of the server's."""

    tensors: Any
    tokens: Any
    block_m: int = 16

    @classmethod
    def random(cls, rank: int = 16) -> Experts:
        from autotune.kernels.fused_moe_lora.kernel import GateUpOneShot
        from autotune.kernels.fused_moe_lora.problem import MoeProblem
        from autotune.servers.vllm.served_moe import Tokens

        problem = MoeProblem("float16", 9, 40, rank, 24, num_slices=2, num_experts=3, top_k=2, max_loras=2)
        tensors = GateUpOneShot().make_inputs(problem, DEVICE, 0).arguments
        return cls(tensors, Tokens.of(tensors.batch))

    def run(self, add: bool = True) -> Experts:
        """Runs the product by the server's entry."""
        from autotune.servers.vllm.served_moe import told_of_machine

        with told_of_machine(self.tensors.x.device):
            torch.ops.vllm.fused_moe_lora(*self.arguments(add))
        return self

    def arguments(self, add: bool = True) -> tuple[Any, ...]:
        """Returns what the server hands to the op."""
        t, tokens = self.tensors, self.tokens
        tiles = (self.block_m, 64, 32, 8, 4, 3, 1)
        rows = tokens.rows[self.block_m].tensors
        return (
            *(t.out, t.x, t.a, t.b, tokens.topk_weights, *rows, tokens.mapping, t.a[0].shape[2], tokens.top_k),
            *(tokens.lora_ids, tokens.active, tokens.enabled, *tiles, *tiles, False, False, 0, add),
        )

    def equals(self, other: Experts) -> bool:
        """Tells whether two layers wrote the same, but for rounding to half precision of sums and of the ranks."""
        return torch.allclose(self.tensors.out, other.tensors.out, rtol=0, atol=0.02)


know_the_stand_in()
LIBRARIES = register_ops()
