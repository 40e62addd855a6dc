"""Reads the flags that describe problems of one kernel."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune import servers
from autotune.api.problems import Problems
from autotune.cli.flags.command import said, spelled, worded
from autotune.contract import groups, registry
from autotune.errors import InputError, one_of


@dataclass(frozen=True)
class KernelFlags:
    """The flags that kernels read by these very names (`Kernel.problem_from_flags`)."""

    dtype: str = worded("float16 or bfloat16.  [default: torch.float16, of a model bfloat16]", default="torch.float16")
    batch_size: int | None = None
    seq_length: int | None = None
    hidden_size: int | None = None
    lora_rank: int | None = None
    num_loras: int | None = None
    num_active_loras: int | None = None
    num_slices: int | None = None
    slice_widths: tuple[int, ...] | None = None
    sort_by_lora_id: int | None = None
    expand_add_inputs: int | None = None
    output_dim: int | None = None
    chunk_sizes: tuple[int, ...] | None = None
    max_lora_chunk_size: int | None = None
    total_tokens: int | None = None
    workload: str | None = None
    decode_requests: tuple[int, ...] | None = None
    adapter_ranks: tuple[int, ...] | None = None
    adapter_shares: str | None = None
    num_experts: int | None = None
    top_k_num: int | None = None
    moe_intermediate_size: int | None = None
    fully_sharded: bool = False
    tp: int | None = None
    ep: bool = False
    routing: str | None = None
    block_m: int | None = None


@dataclass(frozen=True)
class ProblemFlags(KernelFlags):
    """All flags that describe problems of one kernel."""

    op_type: str | None = None
    server: str | None = None
    m_values: tuple[int, ...] = ()
    path: str | None = None
    topk_ids: Path | None = None
    dims: tuple[str, ...] = ()

    def read(self) -> Problems:
        """Reads what the flags describe.

        Raises:
            InputError: If there is no such kernel, or it does not take one of the flags.
        """
        if self.op_type is None:
            kernels = sorted([*registry.installed().names(), *(kind.name for kind in groups.kinds())])
            raise InputError(
                "--op-type: not given; for all that a server looks up for a model: tune --model MODEL or study create "
                f"--plan MODEL; for one shape allowed: {one_of(kernels)}"
            )
        kernel = self._kernel(self.op_type)
        values = {**kernel_values(self), **dict(map(_dim, self.dims))}
        if values.get("tp", 1) > 1 and not _has_experts(kernel):
            raise InputError(
                f"--tp: got {self.tp} for {kernel}, allowed: 1, since the sizes you pass are one GPU's; leave it "
                "out, or have a model's sizes worked out (study create --plan, tune --model)"
            )
        if self.ep and not _has_experts(kernel):
            raise InputError(f"--ep: got it for {kernel}, which has no experts; leave it out")
        self._refuse_others(kernel)
        return Problems(kernel, values, self.m_values, self.path)

    def _kernel(self, op_type: str) -> str:
        kind = groups.find(op_type)
        return op_type if kind and self.server in (None, kind.server) else registry.of_server(op_type, self.server)

    def _refuse_others(self, kernel: str) -> None:
        """Refuses flags that only another server's kernels take."""
        server = (groups.find(kernel) or registry.load(kernel)).server
        if server is None:
            return
        for name in said(self):
            if servers.owner_of_flag("problem", name) not in (None, server):
                label = servers.get(server).command_line.label
                raise InputError(f"{spelled(name)}: not a flag of {label}'s kernels, got {kernel}; leave it out")


def _has_experts(kernel: str) -> bool:
    return groups.concerns(kernel) or "num_experts" in registry.load(kernel).problem_type.__dataclass_fields__


def kernel_values(flags: KernelFlags) -> dict[str, Any]:
    """Returns the values that were given, as kernels take them: numbers for switches."""
    values = {field.name: getattr(flags, field.name) for field in dataclasses.fields(KernelFlags)}
    return {
        name: int(value) if isinstance(value, bool) else value
        for name, value in values.items()
        if value is not None and value is not False
    }


def _dim(item: str) -> tuple[str, int | str]:
    name, equals, value = item.partition("=")
    if not (name and equals):
        raise InputError(f"--dim: got {item!r}, allowed: NAME=VALUE, e.g. --dim rows=4096")
    return name, int(value) if re.fullmatch(r"-?[0-9]{1,10}", value) else value
