"""What lora_shrink and lora_expand have in common, as kernels of the tuner."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Generic, TypeVar

from autotune.contract import Call, Config, Gpu
from autotune.kernels.common.execution import DeclaredKernel
from autotune.kernels.common.problem import LoraProblem
from autotune.servers.vllm.server import VLLM

P = TypeVar("P", bound=LoraProblem)


class DenseKernel(DeclaredKernel[P], Generic[P]):
    """One of vLLM's two dense LoRA kernels: key and default of its config, name of its recordings."""

    server = "vllm"
    spaces = ("wide", "vllm-grid")
    op: ClassVar[str]
    """The name that vLLM has for it in its config files."""

    def default_config(self, problem: P, gpu: Gpu) -> Config:
        """Returns what vLLM takes without a file, as far as the kernel reads it."""
        default = VLLM.default_config(self.call(problem))
        return self.canonical(problem, {p.name: default[p.name] for p in self.parameters(problem, "wide")}, gpu)

    @abstractmethod
    def blocks_launched(self, problem: P, config: Config) -> int:
        """Counts the blocks of our launch, with and without work."""

    @abstractmethod
    def launch_us(self, problem: P, config: Config, gpu: Gpu, launched: int) -> float:
        """Tells what a launch of so many blocks, with and without work, is likely to take: ours, or a server's."""

    def estimate_us(self, problem: P, config: Config, gpu: Gpu) -> float:
        return self.launch_us(problem, config, gpu, self.blocks_launched(problem, config))

    def call(self, problem: P) -> Call:
        p = problem
        dims = {"max_loras": p.max_loras + 1, "num_slices": p.num_slices, "m": p.m, "k": p.k, "n": p.n}
        return Call("vllm", self.op, dims)

    def recording(self, problem: P) -> str | None:
        p = problem
        name = f"vllm_{self.op}_M{p.m}_K{p.k}_N{p.n}_L{p.max_loras}_S{p.num_slices}"
        return name if p.recordable else None
