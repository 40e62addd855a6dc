"""Times plain products of a csgmv shrink's sizes, with which docs/results.md compares our kernel and SGLang's.

They know one adapter and nothing of permutations, segments, ranks or batches: cuBLAS, and a Triton kernel that reads by
pointers or by tensor descriptors (TMA), each at its fastest of some tiles. Ours runs by its default on the same rows,
with all of its semantics. Timed as a study is: replays of CUDA graphs over argument sets that overflow the L2 cache, in
turn.

PYTHONPATH=. python docs/run_plain_shrink.py OUT.json
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from autotune.contract import registry
from autotune.environment import current_environment, current_gpu
from autotune.measure.timing import CudaGraphTimer
from decoder_models import MODELS, Layer
from plugin_race import set_count

TOKENS = 30_720
CHUNK_SIZES = (64, 128)
MODEL = "Qwen3-Embedding-0.6B"
_GRAPH_US = 1000.0
_ROUNDS, _BURN_IN = 20, 6
_MOST_SETS = 8
_BLOCK_K = 64
_SHARED_BYTES = 220_000

Call = Callable[[], object]


@triton.jit  # type: ignore[untyped-decorator]
def plain_shrink_kernel(  # type: ignore[no-untyped-def]
    x_ptr,
    a_ptr,
    out_ptr,
    K: tl.constexpr,
    N: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    DESCRIBED: tl.constexpr,
):
    row = tl.program_id(1) * BM
    column = tl.program_id(0) * BN
    rows = row.to(tl.int64) + tl.arange(0, BM)
    columns = column + tl.arange(0, BN)
    depth = tl.arange(0, BK)
    acc = tl.zeros([BM, BN], dtype=tl.float32)
    for k in range(0, K, BK):
        if DESCRIBED:
            a = a_ptr.load([column, k]).T
            x = x_ptr.load([row, k])
        else:
            a = tl.load(a_ptr + columns[None, :] * K + k + depth[:, None])
            x = tl.load(x_ptr + rows[:, None] * K + k + depth[None, :])
        acc = tl.dot(x, a, acc)
    tl.store(out_ptr + rows[:, None] * N + columns[None, :], acc.to(out_ptr.dtype.element_ty))


def main(path: str) -> None:
    (model,) = (each for each in MODELS if each.name == MODEL)
    rows: list[dict[str, Any]] = []
    for layer in model.layers:
        rows.append({"layer": layer.name, **timed(layer, model.rank)})
        print(rows[-1], flush=True)
        Path(path).write_text(json.dumps({"environment": current_environment().known, "rows": rows}, indent=1))


def timed(layer: Layer, rank: int) -> dict[str, Any]:
    """Returns microseconds of each way, of Triton's kernels at the fastest tile, and ours by chunk size."""
    ours, sets = our_calls(layer, rank)
    ways: dict[str, list[Call]] = {
        "cublas": [partial(torch.mm, x, a.t(), out=out) for x, a, out in sets],
        **{f"ours {size}": calls for size, calls in ours.items()},
        **{name: calls for described in (False, True) for name, calls in plain_calls(sets, described)},
    }
    for call in itertools.chain.from_iterable(ways.values()):
        call()
    timers = {name: CudaGraphTimer(calls, _GRAPH_US) for name, calls in ways.items()}
    samples: dict[str, list[float]] = {name: [] for name in timers}
    for turn in range(_ROUNDS):
        for name, timer in timers.items() if turn % 2 else reversed(timers.items()):
            samples[name].append(timer.sample_us())
    us = {name: median(values[_BURN_IN:]) for name, values in samples.items()}
    plain = {kind: min((n for n in us if n.startswith(kind)), key=us.__getitem__) for kind in ("pointers", "described")}
    return {
        **{name: time_us for name, time_us in us.items() if name.startswith(("cublas", "ours"))},
        **{kind: {"us": us[name], "config": name} for kind, name in plain.items()},
    }


def our_calls(layer: Layer, rank: int) -> tuple[dict[int, list[Call]], list[tuple[torch.Tensor, ...]]]:
    """Returns our calls by chunk size, and the tensors ``[T, K]``, ``[S * R, K]`` and ``[T, S * R]`` of the last."""
    kernel, calls = registry.load("csgmv_shrink"), dict[int, list[Call]]()
    sets: list[Any] = []
    for size in CHUNK_SIZES:
        problem = kernel.problem_from_flags(
            {
                "dtype": "bfloat16",
                "chunk_size": size,
                "lora_rank": rank,
                "num_slices": len(layer.widths),
                "hidden_size": layer.inputs,
                "total_tokens": TOKENS,
            }
        )
        config = kernel.own_default(problem, current_gpu())
        assert config is not None
        count = set_count(kernel.floor(problem).bytes, _MOST_SETS)
        sets = [kernel.make_inputs(problem, "cuda", seed) for seed in range(count)]
        calls[size] = [launch.run for inputs in sets for launch in kernel.launches(inputs, config)]
    return calls, [(each.arguments.x, each.arguments.a[0], each.arguments.out) for each in sets]


def plain_calls(sets: list[tuple[torch.Tensor, ...]], described: bool) -> Iterator[tuple[str, list[Call]]]:
    """Yields the calls of each tile that fits, by the kind and the tile's numbers."""
    k, n = sets[0][0].shape[1], sets[0][2].shape[1]
    block_n = 128 if n % 128 == 0 else 64
    for block_m, num_warps, num_stages in itertools.product((64, 128, 256), (4, 8), (3, 4)):
        elements = block_m * block_n
        if (block_m + block_n) * _BLOCK_K * 2 * num_stages > _SHARED_BYTES or not 1024 <= elements // num_warps <= 4096:
            continue
        grid, tile = (n // block_n, TOKENS // block_m), (k, n, block_m, block_n, _BLOCK_K, described)
        calls: list[Call] = []
        for x, a, out in sets:
            sources = (x, a)
            if described:
                blocks = ([block_m, _BLOCK_K], [block_n, _BLOCK_K])
                sources = tuple(map(TensorDescriptor.from_tensor, sources, blocks))
            launch = plain_shrink_kernel[grid]
            calls.append(partial(launch, *sources, out, *tile, num_warps=num_warps, num_stages=num_stages))
        yield f"{'described' if described else 'pointers'} {block_m}/{block_n}/{num_warps}/{num_stages}", calls


if __name__ == "__main__":
    main(sys.argv[1])
