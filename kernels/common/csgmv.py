"""Problems of the csgmv kernels, how command-line flags become one, and the batches they stand for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from autotune.contract import Config, Gpu, Problem, Workload, dtype_name
from autotune.errors import InputError, one_of
from autotune.kernels.common.problem import DTYPES, integers_flag, required, sizes_of_recording, torch_dtype
from autotune.kernels.common.segmentation import Segmentation
from autotune.kernels.common.tiles import Tile, cdiv, integers
from autotune.servers.sglang import chunks, workloads
from autotune.servers.sglang.facts import CHUNK_SIZES, TRITON_DEFAULTS

if TYPE_CHECKING:
    import torch

WORKLOADS = ("prefill", "decode", "mixed")
SHARES = ("skewed", "equal")

PREFILL_TOKENS = 30_720
DECODE_REQUESTS = 64
MIXED_DECODE_REQUESTS = (8, 64, 256)
MIXED_LORAS = 8
"""SGLang's default of ``--max-loras-per-batch``."""
GRAPH_BATCH = 256
"""Requests that a decode graph's segment buffer has room for, one segment each."""

_OTHERS = {"m": "m-values", "batch_size": "batch-size", "seq_length": "seq-length"}
# The flag that sets a field.
_FLAGS = {
    "dtype": "--dtype",
    "chunk_size": "--chunk-sizes",
    "workload": "--workload",
    "shares": "--adapter-shares",
    "tokens": "--total-tokens",
    "rank": "--lora-rank",
    "num_slices": "--num-slices",
    "num_loras": "--num-loras",
    "active_loras": "--num-active-loras",
}


@dataclass(frozen=True)
class CsgmvProblem(Problem):
    """One csgmv product over a batch: a pool of adapters, and tokens that use some of them.

    Attributes:
        dtype: Type of activations and weights, one of `DTYPES`.
        chunk_size: Most tokens of a segment; it is BLOCK_M, and part of the problem.
        tokens: Tokens of the batch; in a decode batch, requests.
        rank: Rank of the pool; an adapter's own may be lower.
        num_slices: Weights packed in one call: 3 for qkv, 2 for gate_up, else 1.
        num_loras: Adapters in the pool.
        active_loras: Adapters that the tokens use; 0 stands for all.
        adapter_ranks: The adapters' own ranks; empty for `rank` everywhere.
        workload: ``prefill``: prompts one after the other, just the segments they need. ``decode``: one token a
            request in any order, in a CUDA graph's segment buffer, whose tail is empty. ``mixed``: both, since a server
            looks both up by one key; see `workloads`.
        decode_requests: The decode batches of a mixed problem, by requests; those that no server launches with this
            chunk size are dropped (contracts B2).
        shares: How the tokens spread over the adapters in use: ``equal``, or ``skewed``, with a popularity that falls
            as 1/n.
    """

    dtype: str
    chunk_size: int
    tokens: int
    rank: int
    num_slices: int
    num_loras: int = 1
    active_loras: int = 0
    adapter_ranks: tuple[int, ...] = ()
    workload: str = "prefill"
    decode_requests: tuple[int, ...] = ()
    shares: str = "skewed"

    def __post_init__(self) -> None:
        if self.active_loras == 0:
            object.__setattr__(self, "active_loras", self.num_loras)
        if not self.adapter_ranks:
            object.__setattr__(self, "adapter_ranks", (self.rank,) * self.num_loras)
        choices = {"dtype": DTYPES, "chunk_size": CHUNK_SIZES, "workload": WORKLOADS, "shares": SHARES}
        for name, allowed in choices.items():
            if (value := getattr(self, name)) not in allowed:
                raise InputError(f"{_FLAGS[name]}: got {value!r}, allowed: {one_of(allowed)}; pass one of these")
        for name in ("tokens", "rank", "num_slices", "num_loras", "active_loras"):
            if (size := getattr(self, name)) < 1:
                raise InputError(f"{_FLAGS[name]}: got {size}, allowed: 1 or more; pass a positive size")
        if self.active_loras > self.num_loras:
            raise InputError(
                f"--num-active-loras: got {self.active_loras}, allowed: 1 to the {self.num_loras} of --num-loras; "
                "raise that, or lower this"
            )
        if len(self.adapter_ranks) != self.num_loras or not all(0 < r <= self.rank for r in self.adapter_ranks):
            raise InputError(
                f"--adapter-ranks: got {one_of(self.adapter_ranks)}, allowed: one for each of --num-loras "
                f"{self.num_loras}, from 1 to --lora-rank {self.rank}; leave it out if all have that rank"
            )
        if self.decode_requests and self.workload != "mixed":
            raise InputError(
                f"--decode-requests: got {one_of(self.decode_requests)} for --workload {self.workload}, allowed: none; "
                "pass --workload mixed, or the requests of a single decode batch as --total-tokens"
            )
        used = (n for n in self.decode_requests if self.chunk_size in chunks.sizes_of(n))
        object.__setattr__(self, "decode_requests", tuple(used))

    @property
    def launched(self) -> bool:
        """Whether any server launches so many tokens with this chunk size."""
        return self.chunk_size in chunks.sizes_of(self.tokens)

    @property
    def lookup_k(self) -> int:
        """K, as SGLang spells it in the name of the config file (contracts B1)."""
        raise NotImplementedError

    @property
    def sizes(self) -> str:
        """The part of the label that a kernel adds."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        base = f"t{self.tokens}-{self.sizes}-r{self.rank}-s{self.num_slices}-chunk{self.chunk_size}"
        loras = f"-l{self.num_loras}" if self.num_loras > 1 else ""
        active = f"-a{self.active_loras}" if self.active_loras != self.num_loras else ""
        own = "" if self.one_rank else "-ranks" + "x".join(map(str, self.adapter_ranks))
        shares = "-equal" if self.shares == "equal" else ""
        decode = "-d" + "x".join(map(str, self.decode_requests)) if self.decode_requests else ""
        return f"{base}{loras}{active}{own}{shares}-{self.workload}{decode}-{self.dtype}"

    def workloads(self) -> tuple[Workload, ...]:
        """Returns a mixed problem's prefill batch and its decode batches, which together weigh as much; else the
        problem itself."""
        if self.workload != "mixed":
            return (Workload(self.workload, 1.0, self),)
        prefill = replace(self, workload="prefill", decode_requests=())
        decode = [(n, replace(prefill, workload="decode", tokens=n)) for n in self.decode_requests]
        share = 1 / max(1, len(decode))
        return (Workload("prefill", 1.0, prefill), *(Workload(f"decode of {n}", share, batch) for n, batch in decode))

    @property
    def torch_dtype(self) -> torch.dtype:
        return torch_dtype(self.dtype)

    @property
    def one_rank(self) -> bool:
        return set(self.adapter_ranks) == {self.rank}

    @property
    def base_tokens(self) -> int:
        """Tokens without an adapter: a sixteenth, where there are several adapters."""
        return self.tokens // 16 if self.active_loras > 1 else 0

    @property
    def pool_ranks(self) -> tuple[int, ...]:
        """Ranks of the slots; the base model has the first, if there are several adapters."""
        return ((0,) if self.num_loras > 1 else ()) + self.adapter_ranks

    @property
    def tokens_by_slot(self) -> tuple[int, ...]:
        """How many tokens use each slot."""
        weights = [1 if self.shares == "equal" else 1 / n for n in range(1, self.active_loras + 1)]
        adapters = split(self.tokens - self.base_tokens, weights)
        base = (self.base_tokens,) if self.num_loras > 1 else ()
        return (*base, *adapters, *(0,) * (self.num_loras - self.active_loras))

    @property
    def segments(self) -> tuple[int, int]:
        """Chunks that have tokens of an adapter, and places in the segment buffer that have none."""
        chunks = sum(
            cdiv(n, self.chunk_size) for rank, n in zip(self.pool_ranks, self.tokens_by_slot, strict=True) if rank
        )
        base = cdiv(self.base_tokens, self.chunk_size)
        buffer = max(GRAPH_BATCH, self.tokens) if self.workload == "decode" else chunks + base
        return chunks, buffer - chunks

    @property
    def segmentation(self) -> Segmentation:
        """What the host can tell of the batch."""
        return Segmentation(self.tokens, sum(self.segments), self.chunk_size, len(self.pool_ranks))

    @property
    def is_decode(self) -> bool:
        """Whether the plug-in takes the batch for one of decode."""
        return workloads.is_decode(self.tokens, self.workload == "decode")

    @property
    def recordable(self) -> bool:
        """Whether recorded spaces have inputs of this kind."""
        plain = (self.dtype, self.tokens, self.num_loras, self.workload) == ("float16", PREFILL_TOKENS, 1, "prefill")
        return plain and self.one_rank


def fields_from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the `CsgmvProblem` fields that both kernels read from the same flags.

    Raises:
        InputError: Naming the flag that is missing or cannot be read.
    """
    workload = str(flags.get("workload") or "prefill")
    mixed = workload == "mixed"
    if given := [name for name in _OTHERS if flags.get(name) is not None]:
        raise InputError(
            f"--{_OTHERS[given[0]]}: not a flag of SGLang's kernels; "
            "pass --total-tokens (and --workload decode for requests of one token)"
        )
    return {
        "dtype": dtype_name(str(flags.get("dtype") or "float16")),
        "chunk_size": required(flags, "chunk_size", "one of " + one_of(CHUNK_SIZES)),
        "tokens": _integer(flags, "total_tokens", DECODE_REQUESTS if workload == "decode" else PREFILL_TOKENS),
        "rank": required(flags, "lora_rank", "(--rank is the same)"),
        "num_slices": _integer(flags, "num_slices", 1),
        "num_loras": _integer(flags, "num_loras", MIXED_LORAS if mixed else 1),
        "active_loras": _integer(flags, "num_active_loras", 0),
        "adapter_ranks": integers_flag(flags, "adapter_ranks"),
        "workload": workload,
        "decode_requests": integers_flag(flags, "decode_requests") or (MIXED_DECODE_REQUESTS if mixed else ()),
        "shares": str(flags.get("adapter_shares") or "skewed"),
    }


def chunk_sizes(flags: Mapping[str, Any]) -> tuple[int, ...]:
    """Returns the chunk sizes to tune: those listed, or those a server with this ``--max-lora-chunk-size`` launches
    with, or all.

    Raises:
        InputError: If both flags are given, or one of them cannot be read.
    """
    listed, most = integers_flag(flags, "chunk_sizes"), flags.get("max_lora_chunk_size")
    if listed and most is not None:
        raise InputError("--max-lora-chunk-size: give either it or --chunk-sizes, not both")
    return listed or (CHUNK_SIZES if most is None else chunks.reachable(int(most)))


def fields_from_recording(name: str, op: str) -> tuple[dict[str, Any], int] | None:
    """Returns the `CsgmvProblem` fields that a recorded space of this op is named after, and its K; None for another
    name."""
    sizes = sizes_of_recording(name, op, "sglangx?|builtin") or {}
    if not {"K", "R", "S", "chunk"} <= set(sizes):
        return None
    fields = {
        "dtype": "float16",
        "chunk_size": sizes["chunk"],
        "tokens": PREFILL_TOKENS,
        "rank": sizes["R"],
        "num_slices": sizes["S"],
    }
    return fields, sizes["K"]


def with_triton_defaults(config: Config) -> dict[str, int]:
    """Returns a config with Triton's choice where it leaves one."""
    return {**TRITON_DEFAULTS, **integers(config)}


def infeasible_tile(rows: int, columns: int, depth: int, config: Config, gpu: Gpu) -> str | None:
    """Tells why a config should not be tried on chunks ``[rows, depth] @ [depth, columns]``, or None."""
    tile = csgmv_tile(rows, config)
    # One instruction of one warp makes 16 x 8 results. Warps beyond that repeat products, but still help to load.
    if tile.warps > 2 * (rows // 16) * (tile.n // 8):
        return f"num_warps {tile.warps}: a {rows} x {tile.n} tile has work for half of them at most"
    return tile.infeasible(rows, columns, depth, gpu)


def csgmv_tile(rows: int, config: Config) -> Tile:
    """Returns one block's work on a chunk of so many rows."""
    c = with_triton_defaults(config)
    return Tile(rows, c["BLOCK_N"], c["BLOCK_K"], c["num_warps"], c["num_stages"], 2, 2)


def split(total: int, weights: Sequence[float]) -> tuple[int, ...]:
    """Splits `total` in proportion to the weights; small shares may get none."""
    ends = [round(total * sum(weights[:n]) / sum(weights)) for n in range(len(weights) + 1)]
    return tuple(end - start for start, end in itertools.pairwise(ends))


def _integer(flags: Mapping[str, Any], name: str, default: int) -> int:
    return default if (value := flags.get(name)) is None else int(value)
