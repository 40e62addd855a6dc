"""Reads the flags that describe all layers of a decoder block, as the tuning script of their server has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autotune import servers
from autotune.cli.flags.command import said, spelled
from autotune.cli.flags.problem import ProblemFlags
from autotune.errors import InputError, one_of
from autotune.model.shape import ModelShape, load
from autotune.servers.command_line import BlockSizes, DecoderBlock

_OF_ONE_LAYER = ("num_slices", "slice_widths", "output_dim")


@dataclass(frozen=True)
class BlockFlags:
    """The flags that describe all layers of a decoder block; the others are those of a problem."""

    qkv_output_dim: tuple[int, ...] | None = None
    intermediate_size: int | None = None
    model: str | None = None

    def read(self, problem: ProblemFlags) -> DecoderBlock | None:
        """Finds the layers that the flags describe; None if they are about a single kernel.

        Raises:
            InputError: If they describe none, or are given for another server.
        """
        if problem.op_type is not None or problem.server not in block_servers():
            if misplaced := [
                spelled(name) for name in ("model", "qkv_output_dim", "intermediate_size") if name in said(self)
            ]:
                wanted = one_of(f"--runtime {name}" for name in block_servers())
                raise InputError(f"{misplaced[0]}: is about all layers; pass {wanted}, and no --op-type")
            return None
        if single := [spelled(name) for name in _OF_ONE_LAYER if name in said(problem)]:
            raise InputError(
                f"{single[0]}: describes a single layer, and without --op-type all are tuned; leave it out"
            )
        model, notes = self._model(needed=problem.hidden_size is None)
        sizes = BlockSizes(problem.hidden_size, self.qkv_output_dim, self.intermediate_size, model)
        return servers.get(problem.server).command_line.block(sizes).with_notes(notes)

    def _model(self, needed: bool) -> tuple[ModelShape | None, tuple[str, ...]]:
        """Reads the model's sizes, and notes. Where flags give the sizes a mere name will do, as in the script."""
        if self.model is None:
            return None, ()
        if Path(self.model).exists() or needed:
            model = load(self.model)
            return model, model.assumptions
        return None, (f"--model {self.model} is no local checkpoint: all sizes are those of the flags.",)


def block_servers() -> list[str]:
    """Lists the servers of which all layers of a block are tuned together."""
    return [name for name in servers.names() if servers.get(name).command_line.tunes_blocks]


def refuse_unplanned(server: str | None, tp: int) -> None:
    """Refuses ``--model`` without ``--max-loras`` where that does not mean the layers of one block.

    Raises:
        InputError: Naming the flag that is missing.
    """
    if server is None:
        wanted = one_of(f"--runtime {name}" for name in block_servers())
        raise InputError(
            "--runtime: not given; --model goes with --runtime and --max-loras, as plan takes them, or for the layers "
            f"of one block with {wanted}"
        )
    if server not in block_servers():
        raise InputError("--max-loras: not given; tune --model needs the flags of plan")
    if tp > 1:
        raise InputError(f"--max-loras: not given; --model with --tp {tp} is planned, and needs the flags of plan")
