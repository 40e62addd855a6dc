"""Reads the flags that describe one lookup of a server."""

from __future__ import annotations

from dataclasses import dataclass

from autotune import servers
from autotune.cli.flags.command import said, spelled, worded
from autotune.contract import Call
from autotune.errors import InputError


@dataclass(frozen=True)
class LookupFlags:
    """The flags that describe one lookup of a server."""

    op: str
    server: str = worded("The server.")
    max_loras: int | None = worded("vLLM: the server's --max-loras (dense ops look up one more).", default=None)
    num_slices: int | None = worded("3 for qkv, 2 for gate_up, 1 otherwise (SGLang: S).", default=None)
    m: int | None = None
    k: int | None = None
    n: int | None = None
    intermediate: int | None = None
    expand_add_inputs: int | None = worded("vLLM: 0 for EXPAND_FALSE.  [default: 1]", default=None)
    lora_rank: int | None = worded("SGLang: R, the pool's rank; vLLM: of --op linear.", default=None)
    chunk_size: int | None = None
    triton: str | None = None
    gpu: str | None = None

    def call(self) -> Call:
        """Returns the call that the flags describe.

        Raises:
            InputError: If a flag is missing, or is not this server's.
        """
        for name in said(self):
            if servers.owner_of_flag("lookup", name) not in (None, self.server):
                raise InputError(
                    f"{spelled(name)}: no lookup of --runtime {self.server} has it; leave one of the two out"
                )
        return servers.get(self.server).command_line.call(self.op, {name: getattr(self, name) for name in said(self)})
