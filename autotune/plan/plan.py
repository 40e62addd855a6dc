"""The plan itself: every lookup of a served model, the studies for them in a good order, and what to mind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from autotune.contract import Call, dtype_name, groups
from autotune.errors import InputError, one_of
from autotune.model.shape import ModelShape
from autotune.plan.sizes import (
    DEFAULT_MAX_NUM_BATCHED_TOKENS,
    DEFAULT_MAX_NUM_SEQS,
    LEAST_SHARE,
    auto_m_values,
    capture_sizes,
    own_keys,
    weigh,
)
from autotune.servers.notes import advice, warnings
from autotune.servers.serving import Serving, check
from autotune.servers.sglang import lookups as sglang
from autotune.servers.sglang.chunks import chunk_size, reachable
from autotune.servers.sglang.facts import CHUNK_SIZES, DEFAULT_MAX_CHUNK
from autotune.servers.shapes import Shape
from autotune.servers.vllm import lookups as vllm

DTYPES = ("float16", "bfloat16")
DEFAULT_DTYPE = "bfloat16"
WORKLOADS = ("prefill", "decode", "mixed")
"""What the kernels take."""

SMALL_STUDY_S = 2.0
LARGE_STUDY_S = 3.0
"""What a study took on an H100 with 16 cores (docs/results.md): from a few tokens up, and for the largest batches."""

_LARGE_TOKENS = 4096


@dataclass(frozen=True)
class Batches:
    """What batches the server will run.

    Attributes:
        m_values: Token counts to tune for vLLM; empty to choose them.
        chunk_sizes: Chunk sizes to tune for SGLang; empty for those that occur.
        workload: What SGLang's kernels are timed on; None for the kernels' own choice.
        traffic: Weight of each token count of a batch, if known.
    """

    max_num_seqs: int = DEFAULT_MAX_NUM_SEQS
    max_num_batched_tokens: int = DEFAULT_MAX_NUM_BATCHED_TOKENS
    max_lora_chunk_size: int = DEFAULT_MAX_CHUNK
    m_values: tuple[int, ...] = ()
    chunk_sizes: tuple[int, ...] = ()
    workload: str | None = None
    traffic: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One study to be, or the studies of a group.

    Attributes:
        kernel: Registry name of the kernel, or name of a group of kernels.
        flags: What `problem_from_flags` is to be given.
        call: What the server looks up, of a group its first member; the kernel must agree.
        layers: Labels of the layers that look it up.
        count: How many times a forward pass looks it up.
        weight: Share of the traffic that looks it up; 1 where nothing is known.
    """

    kernel: str
    flags: Mapping[str, Any]
    call: Call
    layers: tuple[str, ...]
    count: int
    weight: float = 1.0

    @property
    def studies(self) -> int:
        group = groups.find(self.kernel)
        return len(group.members[groups.path_for("auto", self.flags)]) if group else 1

    @property
    def seconds(self) -> float:
        """What it will take, roughly."""
        size = self.call.dims.get("m", 0)
        return self.studies * (LARGE_STUDY_S if size >= _LARGE_TOKENS else SMALL_STUDY_S)


@dataclass(frozen=True)
class Plan:
    """All lookups of a served model.

    Attributes:
        shapes: The distinct lookups but for the batch's size.
        sizes: Sizes to tune, and the share of the traffic that looks each up; m for vLLM, chunk sizes for SGLang.
        answered: Sizes that the files hold: besides those to tune the automatic ones, so that no batch of another kind
            runs a config that was only timed far from it.
        dtype: Of the adapters' weights.
        variant: A few characters that stand for all that is not as by default; empty where nothing is.
        warnings: What follows from the server's rules; one line each.
        advice: What helps more than tuning; one line each.
    """

    model: ModelShape
    serving: Serving
    shapes: tuple[Shape, ...]
    sizes: Mapping[int, float]
    answered: tuple[int, ...]
    dtype: str
    variant: str
    warnings: tuple[str, ...]
    advice: tuple[str, ...]

    @property
    def name(self) -> str:
        """Short, and different for plans that come to different studies."""
        s = self.serving
        parts = [self.model.name, s.server, f"tp{s.tp}", f"r{s.rank}", f"l{s.max_loras}"]
        parts += [
            word for word, on in (("fs", s.fully_sharded), ("ep", s.expert_parallel), ("dual", s.dual_stream)) if on
        ]
        parts += [word for word in (self.dtype, self.variant) if word not in (DEFAULT_DTYPE, "")]
        return "-".join(parts)

    @property
    def entries(self) -> list[Entry]:
        """The studies, each right behind its nearest neighbour: shape by shape, ascending; much traffic first."""
        return sorted(self._entries(), key=lambda entry: -entry.weight)

    @property
    def required(self) -> list[Call]:
        """Every lookup the files must answer, measured or not; the experts' only if these are tuned, and only where
        servers read them: sorted batches take the nearest entry, and that must not be one of batches that are not.

        A server with dual stream has both expand files: without the flag, or for a layer that runs alone, it reads
        the one of added inputs.
        """
        calls = []
        experts = any(groups.FUSED_MOE_LORA.name in shape.kernels for shape in self.shapes)
        for shape in self.shapes:
            if shape.op.startswith(groups.FUSED_MOE_LORA.name) and not experts:
                continue
            for size in self.answered:
                if shape.op.startswith(groups.FUSED_MOE_LORA.name) and not shape.occurs(size):
                    continue
                call = shape.call(size)
                calls.append(call)
                if call.dims.get("add_inputs") == 0:
                    calls.append(Call(call.server, call.op, {**call.dims, "add_inputs": 1}))
        return list({(call.op, tuple(call.dims.items())): call for call in calls}.values())

    @property
    def seconds(self) -> float:
        """What all studies will take, roughly."""
        return sum(entry.seconds for entry in self.entries)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "model": asdict(self.model),
            "serving": {"runtime" if name == "server" else name: value for name, value in asdict(self.serving).items()},
            "dtype": self.dtype,
            "shapes": [
                {"op": shape.op, **shape.dims, "layers": list(shape.layers), "kernels": list(shape.kernels)}
                for shape in self.shapes
            ],
            "size": self.shapes[0].size,
            "sizes": {str(size): weight for size, weight in self.sizes.items()},
            "answered": list(self.answered),
            "studies": [
                {
                    "kernel": entry.kernel,
                    "flags": dict(entry.flags),
                    "call": entry.call.to_json(),
                    "layers": list(entry.layers),
                    "weight": entry.weight,
                }
                for entry in self.entries
            ],
            "seconds": self.seconds,
            "warnings": list(self.warnings),
            "advice": list(self.advice),
        }

    def _entries(self) -> Iterator[Entry]:
        for shape in self.shapes:
            for size, weight in self.sizes.items():
                if shape.occurs(size):
                    for kernel in shape.kernels:
                        flags = {**shape.flags, shape.size: size, "dtype": self.dtype}
                        yield Entry(kernel, flags, shape.call(size), shape.layers, shape.count, weight)


def make(model: ModelShape, serving: Serving, batches: Batches, dtype: str = DEFAULT_DTYPE) -> Plan:
    """The plan of a model that is served so.

    Raises:
        InputError: If it cannot be served so, or flags contradict each other.
    """
    check(model, serving)
    dtype = dtype_name(dtype)
    for flag, value, allowed in (("--dtype", dtype, DTYPES), ("--workload", batches.workload, (None, *WORKLOADS))):
        if value not in allowed:
            raise InputError(f"{flag}: got {value!r}, allowed: {one_of(filter(None, allowed))}; give one of them")
    if serving.server == "vllm":
        shapes = vllm.shapes(model, serving, batches.max_num_seqs)
        automatic, sizes = _m_values(batches)
    else:
        shapes = sglang.shapes(model, serving, batches.workload)
        automatic, sizes = _chunk_sizes(batches)
    if not shapes:
        raise InputError(
            f"--target-modules: got {one_of(serving.target_modules or ())}, none of which {model.name} has on this "
            "server; leave it out for all modules"
        )
    lines = warnings(model, serving, shapes, tuple(sizes), batches.max_lora_chunk_size)
    return Plan(
        model=model,
        serving=serving,
        shapes=tuple(shapes),
        sizes=sizes,
        answered=tuple(sorted({*automatic, *sizes})),
        dtype=dtype,
        variant=_variant(model, serving, batches),
        warnings=(*model.assumptions, *lines),
        advice=tuple(advice(model, serving, batches.max_lora_chunk_size)),
    )


def _variant(model: ModelShape, serving: Serving, batches: Batches) -> str:
    """See `Plan`; what the plan's name spells out anyhow is left out."""
    usual = asdict(Batches())
    unusual: dict[str, Any] = {name: value for name, value in asdict(batches).items() if value != usual[name]}
    for name in {"m_values", "chunk_sizes"} & set(unusual):
        unusual[name] = sorted(set(unusual[name]))
    if serving.target_modules is not None:
        unusual["target_modules"] = sorted(set(serving.target_modules))
    if model.overrides:
        unusual["overrides"] = dict(model.overrides)
    return hashlib.sha256(json.dumps(unusual, sort_keys=True).encode()).hexdigest()[:6] if unusual else ""


def _m_values(batches: Batches) -> tuple[tuple[int, ...], dict[int, float]]:
    """The automatic m, and those to tune with their weights. What is asked for is tuned, whoever looks it up."""
    if batches.max_num_seqs > batches.max_num_batched_tokens:
        raise InputError(
            f"--max-num-seqs: got {batches.max_num_seqs}, more than --max-num-batched-tokens "
            f"{batches.max_num_batched_tokens}, with which vLLM does not start; lower it"
        )
    _within_a_batch("--m-values", batches.m_values, batches)
    _within_a_batch("--traffic", batches.traffic, batches)
    limits = (batches.max_num_seqs, batches.max_num_batched_tokens)
    automatic, wanted = auto_m_values(*limits), batches.m_values
    if not batches.traffic:
        return automatic, dict.fromkeys(sorted(wanted or automatic), 1.0)
    captured = capture_sizes(*limits)
    shares = weigh({*automatic, *(wanted or own_keys(batches.traffic, captured))}, batches.traffic, captured)
    return automatic, {m: share for m, share in shares.items() if (m in wanted if wanted else share >= LEAST_SHARE)}


def _within_a_batch(flag: str, tokens: Iterable[int], batches: Batches) -> None:
    if beyond := [each for each in tokens if each > batches.max_num_batched_tokens]:
        raise InputError(
            f"{flag}: got {one_of(beyond)}, more than --max-num-batched-tokens {batches.max_num_batched_tokens}; no "
            "batch is that large"
        )


def _chunk_sizes(batches: Batches) -> tuple[tuple[int, ...], dict[int, float]]:
    """The chunk sizes that occur, and those to tune with their weights."""
    largest, wanted = batches.max_lora_chunk_size, batches.chunk_sizes
    occurring = reachable(largest)
    if bad := [size for size in wanted if size not in CHUNK_SIZES]:
        raise InputError(f"--chunk-sizes: got {one_of(bad)}, allowed: {one_of(CHUNK_SIZES)}")
    if not batches.traffic:
        return occurring, dict.fromkeys(sorted(wanted or occurring), 1.0)
    shares = dict.fromkeys(sorted({*occurring, *wanted}), 0.0)
    total = sum(batches.traffic.values())
    for tokens, weight in batches.traffic.items():
        shares[chunk_size(tokens, largest)] += weight / total
    return occurring, {size: share for size, share in shares.items() if size in (wanted or occurring)}
