"""What csgmv shrink and expand have in common, as kernels of the tuner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from autotune.contract import Call, Config, Gpu, Workload
from autotune.errors import InputError, one_of
from autotune.kernels.common.csgmv import CsgmvProblem, chunk_sizes, csgmv_tile
from autotune.kernels.common.execution import DeclaredKernel
from autotune.servers.sglang import chunks, workloads
from autotune.servers.sglang.server import SGLANG

P = TypeVar("P", bound=CsgmvProblem)


class CsgmvKernel(DeclaredKernel[P], Generic[P]):
    """One of SGLang's two kernels: key of its config, problems of all chunk sizes, batches a key stands for."""

    spaces = ("wide", "sglang-grid")
    server = "sglang"
    op: ClassVar[str]
    """The name that SGLang has for it in its config files."""
    unset: ClassVar[tuple[str, ...]]
    """Parameters that the default config leaves to Triton."""

    def problems_from_flags(self, flags: Mapping[str, Any]) -> list[P]:
        """Returns one problem for each chunk size; for decode, of those alone that a server launches so many requests
        with.

        Raises:
            InputError: Naming the flag that is missing or cannot be read, or if there is none.
        """
        if flags.get("chunk_size") is not None:
            return [self.problem_from_flags(flags)]
        found = [self.problem_from_flags({**flags, "chunk_size": chunk}) for chunk in chunk_sizes(flags)]
        if not (launched := [problem for problem in found if problem.workload != "decode" or problem.launched]):
            sizes, requests = one_of(problem.chunk_size for problem in found), found[0].tokens
            raise InputError(
                f"--chunk-sizes: got {sizes}, but no server launches a decode batch of {requests} requests with it; "
                f"allowed: {one_of(chunks.sizes_of(requests))}; or change --total-tokens"
            )
        return launched

    def workloads(self, problem: P) -> tuple[Workload, ...]:
        return problem.workloads()

    def default_config(self, problem: P, gpu: Gpu) -> Config:
        return {**SGLANG.default_config(self.call(problem)), **dict.fromkeys(self.unset)}

    def call(self, problem: P) -> Call:
        p = problem
        return Call("sglang", self.op, {"K": p.lookup_k, "R": p.rank, "S": p.num_slices, "chunk_size": p.chunk_size})

    def serving_note(self, problem: P, grouped: bool) -> str | None:
        """Which batches were not measured though the server looks them up by the same key (contracts B1)."""
        workload = problem.workload
        if other := workloads.OTHER.get(workload):
            return (
                f"measured on {workload} only; {other} batches are looked up by the same key: --workload mixed tunes "
                "for both"
            )
        if not problem.decode_requests:
            return (
                f"chunk size {problem.chunk_size}: measured on prefill only; none of --decode-requests is a batch that "
                "gets it"
            )
        return None

    def cannot_run(self, call: Call, config: Config, shared_bytes: int) -> str | None:
        """Expand loads nothing ahead for sure: an adapter's rank, which it masks by, is not known to be even."""
        return csgmv_tile(call.dims["chunk_size"], config).cannot_run(shared_bytes)

    def recording(self, problem: P) -> str | None:
        p = problem
        name = f"sglang_{self.op}_K{p.lookup_k}_R{p.rank}_S{p.num_slices}_chunk{p.chunk_size}"
        return name if p.recordable else None
