"""Drives SGLang's csgmv shrink and expand as its csgmv backend drives them (contracts B3, B8)."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol
from unittest.mock import patch

import torch

from autotune.contract import AnyKernel, Config, Gpu, Launch, Parameter
from autotune.contract.source import Origin
from autotune.servers.recorder import positional, recording
from autotune.servers.served import ServedOp
from autotune.servers.sglang import facts, own_keys, workloads
from autotune.servers.sglang.packaged import packaged_config
from autotune.servers.sglang.served_cost import ExpandWork
from autotune.servers.sglang.served_modules import BATCH, CSGMV, EXPAND, SHRINK, imported

_ONE_STAGE: Final = 1
_LANES: Final = 32
_REGISTERS_PER_ELEMENT: Final = 3
"""What an element of the expand's output surely takes: its sum and its address."""


class BatchIndices(Protocol):
    """The index tensors of a batch in chunks, as the built-in kernels have them (contracts B3)."""

    @property
    def permutation(self) -> torch.Tensor: ...

    @property
    def seg_indptr(self) -> torch.Tensor: ...

    @property
    def weight_indices(self) -> torch.Tensor: ...

    @property
    def lora_ranks(self) -> torch.Tensor: ...

    @property
    def scalings(self) -> torch.Tensor: ...

    @property
    def chunk_size(self) -> int: ...


@dataclass(frozen=True)
class CsgmvArguments:
    """Arguments of one call of an op, by name.

    Attributes:
        named: What the server passes.
        out: ``[T, S * R]`` of shrink, which the op allocates, or ``[T, N]`` of expand, which it adds to.
    """

    named: dict[str, Any]
    out: torch.Tensor


class ServedCsgmv(ServedOp[CsgmvArguments]):
    """What shrink and expand have in common.

    Args:
        builtin: Our kernel of the op; what cannot run or win is the same for both, as they make the same products in
            the same tiles.
    """

    module: ClassVar[str]
    function: ClassVar[str]
    lookup: ClassVar[str]
    """The function that the op asks for its config, imported into its module by name."""
    kernels: ClassVar[tuple[str, ...]]
    """Triton kernels that the op launches, in some release."""

    def __init__(self, builtin: AnyKernel) -> None:
        self.builtin = builtin

    def flag_defaults(self, flags: Mapping[str, Any]) -> Mapping[str, Any]:
        defaults: dict[str, Any] = {"workload": workloads.OF_OWN_KERNELS}
        if ranks := flags.get("adapter_ranks"):
            # As many as the pool has adapters; text has commas between them.
            defaults["num_loras"] = len(ranks.split(",") if isinstance(ranks, str) else ranks)
        return defaults

    def origin(self) -> Origin:
        return CSGMV.origin()

    @abstractmethod
    def named(self, inputs: Any) -> dict[str, Any]:
        """Returns what the server passes, over the tensors of the built-in kernel's arguments."""

    def arguments(self, inputs: Any, problem: Any) -> CsgmvArguments:
        return CsgmvArguments(self.named(inputs.arguments), inputs.arguments.out)

    def run(self, arguments: CsgmvArguments, config: Config) -> torch.Tensor:
        with self._under_test(config, arguments.out):
            return self._call(arguments)

    def launches(self, arguments: CsgmvArguments, config: Config) -> list[Launch]:
        """Runs the op's Python, on tensors that may be on torch's ``meta`` device; it asks none for a value."""
        module = imported(self.module)
        with self._under_test(config, arguments.out), recording(module, *_there(module, self.kernels)) as found:
            self._call(arguments)
        return [positional(launch) for launch in found]

    def _call(self, arguments: CsgmvArguments) -> torch.Tensor:
        found: torch.Tensor = getattr(imported(self.module), self.function)(**arguments.named)
        return found

    @contextmanager
    def _under_test(self, config: Config, out: torch.Tensor) -> Iterator[None]:
        """Makes the op take this config whatever file its own lookup would read, launch what Triton compiles for it
        and not what is kept of a config before (contracts B3), and write to this output."""
        module = imported(self.module)
        given = {name: value for name, value in config.items() if value is not None}
        with ExitStack() as stack:
            stack.enter_context(patch.object(module, self.lookup, lambda *_, **__: given))
            stack.enter_context(patch.object(module, "torch", _Allocating(out)))
            for name in _there(module, self.kernels):
                stack.enter_context(patch.object(module, name, _uncached(getattr(module, name))))
            yield

    def no_file(self, problem: Any, gpu: Gpu, builtin: Config) -> Config:
        """Returns what the package's own file has, where there is one for this GPU (contracts B1)."""
        call = self.builtin.call(problem)
        found = packaged_config(call, gpu.name) if call else None
        return builtin if found is None else {name: found.get(name) for name in builtin}

    def other_defaults(self, problem: Any, gpu: Gpu, builtin: Config) -> tuple[Config, ...]:
        """Returns that of a server whose folder has no file of the shape, where it is another."""
        return () if self.no_file(problem, gpu, builtin) == builtin else (builtin,)

    def infeasible(self, problem: Any, config: Config, gpu: Gpu) -> str | None:
        return self.builtin.infeasible(problem, config, gpu)


class ServedCsgmvShrink(ServedCsgmv):
    """``chunked_sgmv_lora_shrink_forward``. Where the server is told to split K it does so here, too (contracts B3)."""

    module = SHRINK
    function = "chunked_sgmv_lora_shrink_forward"
    lookup = "get_lora_shrink_config"
    kernels = ("_chunked_lora_shrink_kernel", "_chunked_lora_shrink_split_k_kernel", "_reduce_shrink_split_k")

    def named(self, inputs: Any) -> dict[str, Any]:
        batch_info = metadata(inputs.batch)
        return {"x": inputs.x, "weights": inputs.a, "batch_info": batch_info, "num_slices": inputs.num_slices}

    def no_file(self, problem: Any, gpu: Gpu, builtin: Config) -> Config:
        return super().no_file(problem, gpu, own_keys.without(builtin))

    def other_defaults(self, problem: Any, gpu: Gpu, builtin: Config) -> tuple[Config, ...]:
        return super().other_defaults(problem, gpu, own_keys.without(builtin))

    def parameters(self, problem: Any, space: str, builtin: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
        """Each of its blocks takes one segment."""
        ours = own_keys.of("shrink")
        return tuple(parameter for parameter in builtin if parameter.name not in ours)

    def canonical(self, problem: Any, config: Config, gpu: Gpu) -> Config:
        return own_keys.without(self.builtin.canonical(problem, config, gpu))


class ServedCsgmvExpand(ServedCsgmv):
    """``chunked_sgmv_lora_expand_forward``, with the slices' offsets on the CPU where the release takes them."""

    module = EXPAND
    function = "chunked_sgmv_lora_expand_forward"
    lookup = "get_lora_expand_config"
    kernels = ("_chunked_lora_expand_kernel",)

    def named(self, inputs: Any) -> dict[str, Any]:
        offsets = torch.tensor(inputs.slice_offsets, dtype=torch.int32, device="cpu")
        named = {
            "x": inputs.x,
            "weights": inputs.b,
            "batch_info": metadata(inputs.batch),
            "slice_offsets": offsets.to(inputs.x.device),
            "max_slice_size": max(inputs.slice_widths),
            "base_output": inputs.out,
        }
        takes = inspect.signature(getattr(imported(self.module), self.function)).parameters
        return named | {"slice_offsets_cpu": offsets} if "slice_offsets_cpu" in takes else named

    def canonical(self, problem: Any, config: Config, gpu: Gpu) -> Config:
        """Its loads are masked by a rank that is known on the GPU alone, so element by element, and Triton loads
        nothing so small ahead: all stages are the same."""
        default = self.builtin.default_config(problem, gpu)
        spelled = {**default, **facts.TRITON_DEFAULTS, "num_stages": config.get("num_stages")}
        return default if config in (default, spelled) else {**config, "num_stages": _ONE_STAGE}

    def infeasible(self, problem: Any, config: Config, gpu: Gpu) -> str | None:
        c = _spelled(config)
        elements = problem.chunk_size * c["BLOCK_N"] // (_LANES * c["num_warps"])
        if "maxnreg" in c and (needed := _REGISTERS_PER_ELEMENT * elements) > c["maxnreg"]:
            return f"maxnreg {c['maxnreg']}: sums and 64-bit addresses of {elements} elements a thread need {needed}"
        return super().infeasible(problem, config, gpu)

    def estimate_us(self, problem: Any, config: Config, gpu: Gpu) -> float | None:
        p, (chunks, _) = problem, problem.segments
        return ExpandWork(p.chunk_size, p.rank, p.slice_widths, chunks).us(_spelled(config), gpu)


def _spelled(config: Config) -> dict[str, int]:
    """Returns a config with Triton's choice where it leaves one."""
    return {**facts.TRITON_DEFAULTS, **{name: value for name, value in config.items() if value is not None}}


def metadata(batch: BatchIndices) -> Any:
    """Returns the ops' metadata: the server's own class over the batch's tensors.

    The server's builder takes requests and pins memory; the tests hold what it builds against these tensors. A
    graph's buffer, whose tail is empty, is launched as so many segments.
    """
    segments = batch.weight_indices.numel()
    return imported(BATCH).LoRABatchInfo(
        use_cuda_graph=False,
        bs=segments,
        num_segments=segments,
        seg_indptr=batch.seg_indptr,
        weight_indices=batch.weight_indices,
        lora_ranks=batch.lora_ranks,
        scalings=batch.scalings,
        max_len=batch.chunk_size,
        seg_lens=None,
        permutation=batch.permutation,
    )


class _Allocating:
    """Stands where an op's module has torch, and gives it the tensor under test as its output, so that what the op
    leaves unwritten can be told.

    Args:
        out: The output.
    """

    def __init__(self, out: torch.Tensor) -> None:
        self._out = out

    def empty(self, size: Any, **options: Any) -> torch.Tensor:
        wanted = (tuple(size), options.get("dtype"))
        is_output = wanted == (tuple(self._out.shape), self._out.dtype)
        return self._out if is_output else torch.empty(size, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def _uncached(kernel: Any) -> Any:
    """Returns Triton's own kernel, without the server's cache of compiled ones around it, if there is one."""
    return kernel.fn if hasattr(kernel, "kernel_cache") else kernel


def _there(module: Any, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if hasattr(module, name)]
