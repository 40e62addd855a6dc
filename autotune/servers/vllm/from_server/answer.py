"""Defines what the tool and its child process say to each other: plain data, without any of the server's types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autotune.model.layers import Kind


@dataclass(frozen=True)
class Job:
    """The model and the flags that the server's classes are built for.

    Attributes:
        config: Of the model, as its config.json has it.
    """

    config: dict[str, Any]
    tp: int
    rank: int
    fully_sharded: bool
    expert_parallel: bool
    target_modules: list[str] | None
    mixed_moe_format: bool = False
    moe_shared_loras: bool = False
    tower_connector: bool = False


@dataclass(frozen=True)
class DenseAnswer:
    """A wrapped layer that is called, by the sizes of its stacked A and B.

    Attributes:
        inputs: Columns of A; 0 for an embedding, whose A is a lookup.
        rows: Rows of A.
        widths: Rows of each B.
    """

    name: str
    part_of: str
    kind: Kind
    inputs: int
    rows: int
    widths: tuple[int, ...]


@dataclass(frozen=True)
class ExpertAnswer:
    """The wrapped experts of a layer, by the sizes of their stacked A and B.

    Attributes:
        slices: Of w13.
        width: Rows of one slice of w13's B.
        intermediate: Columns of w2's A.
        experts: Of this worker.
    """

    hidden: int
    slices: int
    width: int
    intermediate: int
    experts: int
    top_k: int


@dataclass(frozen=True)
class WrappedAnswer:
    """What the child process found.

    Attributes:
        dense: Each distinct layer with its count.
        uncalled: Names of modules that are wrapped and never called through their wrapper.
        refused: With what the server stops; None where it serves.
        failed: What kept its classes from being built here; None where nothing did.
        plain: What kept them from being built with quantised weights, so that they were with plain ones; None where
            nothing did.
    """

    dense: tuple[tuple[DenseAnswer, int], ...] = ()
    experts: tuple[tuple[ExpertAnswer, int], ...] = ()
    uncalled: tuple[str, ...] = ()
    refused: str | None = None
    failed: str | None = None
    plain: str | None = None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> WrappedAnswer:
        """Reads what `dataclasses.asdict` wrote, through JSON."""
        dense = ((DenseAnswer(**{**each, "widths": tuple(each["widths"])}), n) for each, n in data["dense"])
        experts = ((ExpertAnswer(**each), n) for each, n in data["experts"])
        return cls(
            tuple(dense), tuple(experts), tuple(data["uncalled"]), data["refused"], data["failed"], data["plain"]
        )
