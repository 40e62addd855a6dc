"""Problems of the dense LoRA kernels, and how command-line flags become one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from autotune.contract import Problem, dtype_name
from autotune.errors import InputError, MissingFlagError, one_of
from autotune.kernels.common.tiles import cdiv
from autotune.kernels.common.zipf import zipf_split
from autotune.servers.vllm.facts import RANKS

if TYPE_CHECKING:
    import torch

DTYPES = ("float16", "bfloat16")
"""Adapter weight types the servers serve; fp32 weights never reach these kernels."""

# Fully sharded layers divide the server's rank by the tensor-parallel size.
_RANKS = frozenset(r >> s for r in RANKS for s in range(10) if (r >> s) << s == r and r >> s)


class MixedAdapterProblem(Problem):
    """A problem over a batch of tokens with mixed adapters, of vLLM's dense and fused MoE kernels alike."""

    dtype: str
    m: int
    max_loras: int
    active_loras: int

    def _check_batch(self, sizes: Iterable[str]) -> None:
        """Fills in `active_loras`, and checks the type and the sizes of these names.

        Raises:
            InputError: For a type that is not served, or a size below 1.
        """
        if self.active_loras == 0:
            object.__setattr__(self, "active_loras", self.max_loras)
        check_dtype(self.dtype)
        for name in sizes:
            if (size := getattr(self, name)) < 1:
                raise InputError(f"{name}: got {size}, allowed: 1 or more; pass a positive size")

    @property
    def torch_dtype(self) -> torch.dtype:
        return torch_dtype(self.dtype)

    @property
    def base_tokens(self) -> int:
        """Tokens without an adapter: about a sixteenth, once there are enough tokens to spare one."""
        return max(1, self.m // 16) if self.m >= 8 else 0

    @property
    def adapters_read(self) -> int:
        """Adapters that at least one token uses."""
        return min(self.active_loras, self.m - self.base_tokens)


@dataclass(frozen=True)
class LoraProblem(MixedAdapterProblem):
    """One dense LoRA matrix product over a batch of tokens with mixed adapters.

    Attributes:
        dtype: Type of the adapter weights, one of `DTYPES`.
        m: Tokens, base tokens included.
        k: Columns of x: the hidden size for shrink, the rank for expand.
        n: Rows of one adapter's weight: the rank for shrink, the widest slice for expand.
        num_slices: Weights packed in one call: 3 for qkv, 2 for gate_up, else 1.
        max_loras: Adapters resident on the GPU; sizes the launch grid.
        active_loras: Adapters that the tokens really use; 0 stands for all of them.
        sort_by_lora_id: Tokens of an adapter are neighbours (prefill), or interleaved (decode).
    """

    dtype: str
    m: int
    k: int
    n: int
    num_slices: int
    max_loras: int
    active_loras: int = 0
    sort_by_lora_id: bool = True

    def __post_init__(self) -> None:
        self._check_batch(("m", "k", "n", "num_slices", "max_loras", "active_loras"))
        if self.active_loras > self.max_loras:
            raise InputError(
                f"active_loras: got {self.active_loras}, allowed: 1 to max_loras={self.max_loras}; "
                "raise --num-loras or lower --num-active-loras"
            )
        check_rank(self.rank)

    @property
    def rank(self) -> int:
        raise NotImplementedError

    @property
    def label(self) -> str:
        base = f"m{self.m}-k{self.k}-n{self.n}-s{self.num_slices}-l{self.max_loras}-{self.dtype}"
        active = f"-a{self.active_loras}" if self.active_loras != self.max_loras else ""
        return base + active + ("" if self.sort_by_lora_id else "-unsorted")

    @cached_property
    def tokens_by_adapter(self) -> tuple[int, ...]:
        """Tokens of each adapter in use, the most popular first; one at least."""
        return zipf_split(self.m - self.base_tokens, self.adapters_read)

    def row_tiles(self, block_m: int) -> int:
        """Counts the tiles of this many rows that have tokens."""
        return sum(cdiv(tokens, block_m) for tokens in self.tokens_by_adapter)

    @property
    def recordable(self) -> bool:
        """Whether recorded spaces have inputs of this kind: fp16, every adapter in use, tokens grouped."""
        return self.dtype == "float16" and self.active_loras == self.max_loras and self.sort_by_lora_id


def sizes_of_recording(name: str, op: str, sources: str) -> dict[str, int] | None:
    """Returns the sizes in the name of a recorded space of this op, ``{source}_{op}_M16_K5120_...``; None of any
    other."""
    if not re.match(rf"({sources})_{op}_", name):
        return None
    return {size: int(value) for size, value in re.findall(r"_([A-Za-z]+)(\d+)", name)}


def fields_from_recording(name: str, op: str) -> dict[str, Any] | None:
    """Returns the `LoraProblem` fields that the name of a recorded space of this op tells; None for any other name."""
    sizes = sizes_of_recording(name, op, "vllm|builtin") or {}
    if not {"M", "K", "N", "L", "S"} <= set(sizes):
        return None
    return {
        "dtype": "float16",
        "m": sizes["M"],
        "k": sizes["K"],
        "n": sizes["N"],
        "num_slices": sizes["S"],
        "max_loras": sizes["L"],
    }


def fields_from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the `LoraProblem` fields that both kernels read from the same flags (all but k and n).

    Raises:
        InputError: Naming the flag that is missing or cannot be read.
    """
    slices = flags.get("num_slices")
    return {
        **batch_from_flags(flags),
        "num_slices": 1 if slices is None else int(slices),
        "sort_by_lora_id": switch(flags, "sort_by_lora_id", default=True),
    }


def batch_from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what every batch of tokens with mixed adapters has: dtype, m, max_loras, active_loras.

    Raises:
        InputError: Naming the flag that is missing or cannot be read.
    """
    dtype = dtype_name(str(flags.get("dtype") or ""))
    if not dtype:
        raise InputError(f"--dtype: not given; allowed: {one_of(DTYPES)}")
    m = flags.get("m")
    if m is None:
        batch, length = required(flags, "batch_size", "or --m-values"), flags.get("seq_length")
        m = batch * (1 if length is None else int(length))
    active = flags.get("num_active_loras")
    if active is not None and int(active) < 1:
        raise InputError(f"--num-active-loras: got {active}, allowed: 1 to --num-loras")
    return {
        "dtype": dtype,
        "m": int(m),
        "max_loras": required(flags, "num_loras"),
        "active_loras": 0 if active is None else int(active),
    }


def torch_dtype(dtype: str) -> torch.dtype:
    """Returns torch's own type of this name."""
    import torch  # here, since problems are told without it

    found: torch.dtype = getattr(torch, dtype)
    return found


def check_dtype(dtype: str) -> None:
    """Raises InputError unless adapter weights of this type are served."""
    if dtype not in DTYPES:
        raise InputError(
            f"dtype: got {dtype!r}, allowed: {one_of(DTYPES)} (LoRA weights are served in half precision, "
            "fp32 exists only between shrink and expand); pass --dtype float16 or bfloat16"
        )


def check_rank(rank: int) -> None:
    """Raises InputError unless vLLM serves this rank, or it is a shard of one that vLLM serves."""
    if rank not in _RANKS:
        raise InputError(
            f"lora rank: got {rank}, allowed: {one_of(RANKS)}, or one of these divided by "
            "a power-of-two tensor-parallel size; pass the server's --max-lora-rank"
        )


def required(flags: Mapping[str, Any], name: str, alternative: str = "") -> int:
    """Reads an integer flag that has no sensible default."""
    if (value := flags.get(name)) is None:
        raise MissingFlagError(name, alternative)
    return int(value)


def switch(flags: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """Reads a flag that is 0 or 1."""
    if (value := flags.get(name)) is None:
        return default
    if str(value) not in ("0", "1", "False", "True"):
        raise InputError(f"--{name.replace('_', '-')}: got {value!r}, allowed: 0 or 1")
    return str(value) in ("1", "True")


def integers_flag(flags: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Reads a flag that holds integers, as a sequence or as text with commas; empty if it is not given."""
    if (value := flags.get(name)) is None:
        return ()
    try:
        return tuple(int(part) for part in (value.split(",") if isinstance(value, str) else value))
    except (TypeError, ValueError):
        option = f"--{name.replace('_', '-')}"
        raise InputError(f"{option}: got {value!r}, allowed: integers, e.g. 2048,1024,1024") from None
