"""Drives vLLM's dense shrink and expand as the server drives them (contracts A4, A12)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Protocol
from unittest.mock import patch

import torch

from autotune.contract import Config, Gpu, Launch, Parameter
from autotune.contract.source import Origin
from autotune.servers.recorder import recording
from autotune.servers.served import ServedOp
from autotune.servers.vllm import facts
from autotune.servers.vllm.served_modules import DENSE, imported
from autotune.servers.vllm.served_releases import Release

_TILE: Final = ("block_m", "block_n", "block_k", "num_warps", "num_stages")
_WARP = 32
_REGISTERS = 255
"""Registers that a thread may use."""
_HOPPER = (9, 0)


class Metadata(Protocol):
    """What the ops' metadata is made of: the adapter slot of each token, ``[M]`` int32, and the slots' number."""

    @property
    def token_lora_mapping(self) -> torch.Tensor: ...

    @property
    def lora_ids(self) -> torch.Tensor: ...


@dataclass(frozen=True)
class DenseArguments:
    """Arguments of one call of an op.

    Attributes:
        x: ``[M, K]`` of shrink, ``[S, M, R]`` fp32 of expand.
        weights: S of them, ``[L, 1, N, K]`` as the server stacks them.
        out: ``[S, M, R]`` fp32 of shrink, ``[M, N]`` of expand.
        metadata: Seven tensors in the op's order; the last two lie on the CPU.
        extra: The op's further arguments.
        tables: Addresses on the device; kept here, since a graph that is replayed reads them.
    """

    x: torch.Tensor
    weights: list[torch.Tensor]
    out: torch.Tensor
    metadata: tuple[torch.Tensor, ...]
    extra: tuple[Any, ...]
    tables: Any


class ServedDense(ServedOp[DenseArguments]):
    """What shrink and expand have in common."""

    module: ClassVar[str]
    function: ClassVar[str]
    kernel: ClassVar[str]
    cache: ClassVar[str]
    """Name of the module's dict of address tables, whose keys are addresses alone."""

    def __init__(self, release: Release, builtin: Any) -> None:
        self.release = release
        self._builtin = builtin

    def origin(self) -> Origin:
        return DENSE.origin()

    def run(self, arguments: DenseArguments, config: Config) -> torch.Tensor:
        with self._config(config):
            self._call(arguments)
        return arguments.out

    def launches(self, arguments: DenseArguments, config: Config) -> list[Launch]:
        """Runs the op's Python on tensors that may be on torch's ``meta`` device, where every address is 0."""
        with ExitStack() as stack:
            stack.enter_context(self._config(config))
            if arguments.x.is_meta:
                stack.enter_context(_on_meta(self._tables()))
            found: list[Launch] = stack.enter_context(recording(imported(self.module), self.kernel))
            self._call(arguments)
        return found

    def _call(self, arguments: DenseArguments) -> None:
        a = arguments
        getattr(imported(self.module), self.function)(a.x, a.weights, a.out, *a.metadata, *a.extra)

    @contextmanager
    def _config(self, config: Config) -> Iterator[None]:
        """Makes the op take this config, whatever file its own lookup would read."""
        with patch.object(imported(self.module), "get_lora_op_configs", lambda *_, **__: config):
            yield

    def _tables(self) -> dict[Any, Any]:
        tables: dict[Any, Any] = getattr(imported("utils"), self.cache)
        return tables

    def _upload(self, upload: Any, weights: list[torch.Tensor], *rest: Any) -> Any:
        """Uploads the tables of addresses anew: those in the cache may be of tensors that are gone."""
        if weights[0].is_meta:
            return None
        tables = self._tables()
        others = dict(tables)
        tables.clear()
        found = upload(weights, *rest)
        for key, value in others.items():
            tables.setdefault(key, value)
        return found

    @abstractmethod
    def tiles_launched(self, problem: Any, config: Config) -> int:
        """Counts the blocks that the op launches for each adapter and slice."""

    def estimate_us(self, problem: Any, config: Config, gpu: Gpu) -> float:
        """Estimates our kernel in the op's grid, which has blocks of each adapter for all tokens."""
        launched = self.tiles_launched(problem, config) * problem.num_slices * (problem.max_loras + 1)
        found: float = self._builtin.launch_us(problem, config, gpu, launched)
        return found

    def infeasible(self, problem: Any, config: Config, gpu: Gpu) -> str | None:
        """Leaves out what no server's kernel can gain by: stages without K steps, tiles beyond the registers."""
        block_m, block_n, block_k, warps, stages = (_integer(config, name) for name in _TILE)
        split_k = _integer(config, "split_k") if "split_k" in config else 1
        if split_k > 1 and block_k * split_k // 2 >= problem.k:
            return f"split_k {split_k}: half as many splits already leave one K step to each block"
        steps = -(-problem.k // (block_k * split_k))
        if stages > max(2, steps + 1):
            return f"num_stages {stages}: there are only {steps} K steps to overlap"
        accumulators = block_m * block_n // (_WARP * warps)
        if accumulators > _REGISTERS:
            return f"the accumulator alone needs {accumulators} registers a thread"
        return None


class ShrinkTensors(Protocol):
    """The built-in shrink's arguments."""

    @property
    def x(self) -> torch.Tensor: ...

    @property
    def a(self) -> Sequence[torch.Tensor]: ...

    @property
    def out(self) -> torch.Tensor: ...

    @property
    def metadata(self) -> Metadata: ...

    @property
    def scaling(self) -> float: ...


class ServedShrink(ServedDense):
    """``lora_shrink``: a K loop of SPLIT_K interleaved parts, which is masked where K is no multiple of
    BLOCK_K x SPLIT_K."""

    module = "lora_shrink_op"
    function = "_lora_shrink"
    kernel = "_lora_shrink_kernel"
    cache = "_LORA_A_PTR_DICT"

    def arguments(self, inputs: ShrinkTensors, problem: Any) -> DenseArguments:
        weights = [_stacked(weight) for weight in inputs.a]
        tables = self._upload(imported("utils")._get_lora_a_ptr, weights, inputs.x.device)
        metadata = prepared(inputs.metadata)
        return DenseArguments(inputs.x, weights, inputs.out, metadata, (inputs.scaling,), tables)

    def tiles_launched(self, problem: Any, config: Config) -> int:
        return _tiles(problem, config) * _integer(config, "split_k")

    def parameters(self, problem: Any, space: str, builtin: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
        """A tile of ours may take columns of several slices, one of the server's takes those of one."""
        if space != "wide":
            return builtin
        return tuple(_of_one_slice(each, problem.n) if each.name == "block_n" else each for each in builtin)

    def canonical(self, problem: Any, config: Config, gpu: Gpu) -> Config:
        """The order of tiles matters only if several lie along both dimensions, in more than one band."""
        m_tiles = -(-problem.m // _integer(config, "block_m"))
        n_tiles = -(-problem.n // _integer(config, "block_n"))
        banded = m_tiles > 1 and n_tiles > 1 and m_tiles > min(_integer(config, "group_size_m"), facts.GROUP_SIZE)
        return config if banded else {**config, "group_size_m": facts.GROUP_SIZE}


class ExpandTensors(Protocol):
    """The built-in expand's arguments, and what it adds to."""

    @property
    def arguments(self) -> Any: ...


class ServedExpand(ServedDense):
    """``lora_expand``: it is masked where the rank is no multiple of BLOCK_K; on Hopper it may have one stage only."""

    module = "lora_expand_op"
    function = "_lora_expand"
    kernel = "_lora_expand_kernel"
    cache = "_LORA_B_PTR_DICT"

    def arguments(self, inputs: ExpandTensors, problem: Any) -> DenseArguments:
        a = inputs.arguments
        weights = [_stacked(weight) for weight in a.b]
        tables = self._upload(imported("utils")._get_lora_b_ptr, weights, a.offset, a.x.device)
        return DenseArguments(a.x, weights, a.out, prepared(a.metadata), (a.offset, a.add_inputs), tables)

    def tiles_launched(self, problem: Any, config: Config) -> int:
        return _tiles(problem, config)

    def canonical(self, problem: Any, config: Config, gpu: Gpu) -> Config:
        one_stage = self.release.one_stage_on_hopper and gpu.capability == _HOPPER
        return {**config, "num_stages": 1} if one_stage else config


def prepared(metadata: Metadata) -> tuple[torch.Tensor, ...]:
    """Returns the ops' seven metadata tensors, made by the server's own builder with its default grid: one group for
    each slot and one for base tokens."""
    mapping = metadata.token_lora_mapping
    built = imported("lora_kernel_metadata").LoRAKernelMeta.make(
        metadata.lora_ids.numel() - 1, mapping.numel(), mapping.device
    )
    if not mapping.is_meta:
        built.prepare_tensors(mapping)
    found: tuple[torch.Tensor, ...] = built.meta_args(mapping.numel(), specialize_active_lora=False)
    return found


def _stacked(weight: torch.Tensor) -> torch.Tensor:
    """Returns a weight ``[L, N, K]`` as the server stacks it, ``[L, 1, N, K]``."""
    return weight if weight.ndim == 4 else weight.unsqueeze(1)


def _tiles(problem: Any, config: Config) -> int:
    """Counts the tiles of all tokens and of the columns of the widest slice."""
    rows: int = -(-problem.m // _integer(config, "block_m"))
    columns: int = -(-problem.n // _integer(config, "block_n"))
    return rows * columns


def _of_one_slice(block_n: Parameter, columns: int) -> Parameter:
    """Leaves out what is twice as wide as it must be, or wider."""
    narrowest, *wider = block_n.values
    return replace(block_n, values=(narrowest, *(width for width in wider if width and width < 2 * columns)))


def _integer(config: Config, name: str) -> int:
    value = config[name]
    assert value is not None
    return value


@contextmanager
def _on_meta(tables: dict[Any, Any]) -> Iterator[None]:
    """Lets the ops' Python run over meta tensors: an upload is an empty tensor of its size, and no table is kept, for
    all addresses are 0."""

    def upload(values: Sequence[int], dtype: torch.dtype, device: torch.device, **_: Any) -> torch.Tensor:
        return torch.empty(len(values), dtype=dtype, device=device)

    tables.clear()
    with patch.object(imported("utils"), "async_tensor_h2d", upload):
        yield
    tables.clear()
