"""Defines what planning asks of a server: flags it accepts, what it looks up for a model, what users should mind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune.contract import Call
from autotune.errors import InputError
from autotune.model.shape import ModelShape
from autotune.servers.batches import Batches, BatchSizes
from autotune.servers.serving import Serving, check
from autotune.servers.shapes import Shape
from autotune.servers.trace import Trace


@dataclass(frozen=True)
class ReadOff:
    """What was read off an installed server's own classes.

    Attributes:
        notes: What to say of it, or of why nothing was read although the server is there; one line each.
        lacking: Why nothing was read; None where it was.
    """

    shapes: tuple[Shape, ...]
    notes: tuple[str, ...]
    lacking: str | None


@dataclass(frozen=True)
class TracedPlan:
    """What a trace comes to.

    Attributes:
        serving: The server's flags, as far as lookups tell them.
        notes: What to mind; one line each.
    """

    serving: Serving
    shapes: tuple[Shape, ...]
    sizes: BatchSizes
    notes: tuple[str, ...] = ()


class Planner(ABC):
    """One server's side of a plan."""

    def pool_rank(self, largest: int) -> int:
        """Returns the rank that the server's pool needs for adapters of up to this rank.

        Raises:
            InputError: If the server takes none as large.
        """
        return largest

    def adapter_problems(self, config: Mapping[str, Any]) -> Iterable[str]:
        """Tells what the server's loader refuses of an adapter, by its config; each in a few words."""
        return ()

    @abstractmethod
    def check(self, serving: Serving) -> None:
        """Makes sure that the server accepts these flags.

        Raises:
            InputError: If it does not; names the flag.
        """

    def check_model(self, model: ModelShape, serving: Serving) -> None:
        """Makes sure that the server can serve the model so.

        Raises:
            InputError: If it cannot; names the flag or the field.
        """
        model.require_sizes()
        check(model, serving)

    def assumptions(self, model: ModelShape, serving: Serving) -> list[str]:
        """Tells what is taken for granted of the model; one line each."""
        return list(model.assumptions)

    @abstractmethod
    def shapes(self, model: ModelShape, serving: Serving, batches: Batches) -> list[Shape]:
        """Finds every distinct lookup, in the order of the model's layers.

        Raises:
            InputError: If the flags of the batches make no sense.
        """

    def placeholders(self, model: ModelShape, serving: Serving, shapes: Sequence[Shape]) -> list[Shape]:
        """Returns what else files must answer: a server stops at lookups of the model that are not planned."""
        return []

    def read_off(self, model: ModelShape, serving: Serving, batches: Batches) -> ReadOff:
        """Reads every distinct lookup off the installed server's own classes, where the tool knows how.

        Raises:
            InputError: If the server refuses to serve the model so.
        """
        return ReadOff((), (), "the tool cannot ask this server's classes")

    def traced(self, trace: Trace, batches: Batches) -> TracedPlan:
        """Plans what a running server was seen to look up.

        Raises:
            InputError: If the trace makes no sense.
        """
        raise InputError(f"--trace: got a trace of {trace.server}, for which there is no plan by a trace")

    @abstractmethod
    def sizes(self, batches: Batches) -> BatchSizes:
        """Finds the batch sizes to tune and to answer.

        Raises:
            InputError: If the flags of the batches contradict each other.
        """

    def required(self, shapes: Sequence[Shape], answered: Iterable[int]) -> list[Call]:
        """Lists every lookup that files for these shapes must answer at these sizes, measured or not."""
        return [shape.call(size) for shape in shapes for size in answered]

    def times_several(self, flags: Mapping[str, Any], source: str) -> bool:
        """Tells whether studies of a shape time several kinds of batches.

        Args:
            flags: The shape's.
            source: Whose kernels they time: the server's name, or ``builtin``.
        """
        return False

    @abstractmethod
    def warnings(
        self, model: ModelShape, serving: Serving, batches: Batches, shapes: Sequence[Shape], sizes: Iterable[int]
    ) -> list[str]:
        """Tells what follows from the server's rules for these shapes and the sizes to tune; one line each."""

    @abstractmethod
    def advice(self, serving: Serving, batches: Batches) -> list[str]:
        """Tells where more is to be gained than by tuning; one line each."""
