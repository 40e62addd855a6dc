"""Launches again what a call launched, for other calls of its kind.

To find a compiled kernel Triton looks at every argument, and what a launch is made of takes as long in Python: several
times what the launch takes the CPU. Calls of one kind differ only in where their tensors lie, so those are exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from autotune.contract import Launch

_ALIGNMENT_BYTES: Final = 16
"""Triton compiles another kernel for addresses that are no multiple of it."""

MOST_KINDS: Final = 4096
"""How many are kept: batches of prompts may have any number of tokens, and few come again; within one step all layers
do."""


@dataclass(frozen=True)
class _Again:
    """One launch.

    Attributes:
        start: Launches the compiled kernel on its grid; takes every parameter of it, constants as well.
        parameters: Their values; None for a call's tensors, which would be kept alive.
        exchanged: Which of them are which of a call's tensors.
    """

    start: Callable[..., None]
    parameters: tuple[Any, ...]
    exchanged: tuple[tuple[int, int], ...]


class Repeat:
    """The launches of one kind of calls."""

    def __init__(self, launches: Sequence[_Again]) -> None:
        self._launches = launches
        self._used = sorted({tensor for launch in launches for _, tensor in launch.exchanged})

    @classmethod
    def of(cls, launched: Sequence[tuple[Launch, Any]], tensors: Sequence[torch.Tensor]) -> Repeat | None:
        """Takes a call's launches, each with Triton's compiled kernel, and the call's tensors.

        Returns:
            None where calls cannot be repeated: in Triton's interpreter, where a Triton has no such compiled kernel,
            and where it is not known what a kernel's tensor is of the call's, or there is something about its address
            that the next call may not have.
        """
        try:
            launches = [_again(launch, kernel, tensors) for launch, kernel in launched]
        except Exception:  # of another Triton's insides: what is launched must not be taken for failed
            return None
        found = [each for each in launches if each is not None]
        return cls(found) if len(found) == len(launches) else None

    def run(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Launches for another call's tensors; returns whether it did, for an odd address needs another kernel."""
        for index in self._used:
            if tensors[index].data_ptr() % _ALIGNMENT_BYTES:
                return False
        for launch in self._launches:
            parameters = list(launch.parameters)
            for parameter, index in launch.exchanged:
                parameters[parameter] = tensors[index]
            launch.start(*parameters)
        return True


def _again(launch: Launch, kernel: Any, tensors: Sequence[torch.Tensor]) -> _Again | None:
    names: Sequence[str] = launch.fn.arg_names
    values = {**dict(zip(names, launch.args, strict=False)), **launch.options}
    if kernel is None or not values.keys() >= set(names):
        return None
    parameters = [values[name] for name in names]
    exchanged = list[tuple[int, int]]()
    for parameter, value in enumerate(parameters):
        if isinstance(value, torch.Tensor):
            lying_there = [index for index, each in enumerate(tensors) if each.data_ptr() == value.data_ptr()]
            if len(lying_there) != 1 or value.data_ptr() % _ALIGNMENT_BYTES:
                return None
            exchanged.append((parameter, lying_there[0]))
            parameters[parameter] = None
    grid = (*launch.grid, 1, 1)[:3]
    return _Again(kernel[grid], tuple(parameters), tuple(exchanged))


class Repeats:
    """The launches of calls, by their kinds."""

    def __init__(self) -> None:
        self._by_kind: dict[Hashable, Repeat | None] = {}
        """None where calls cannot be repeated."""
        self._shapes: dict[Hashable, object] = {}

    def shape(self, key: Hashable) -> object:
        """Returns what stands for a shape in kinds: the same for equal keys, and told apart without a look at them."""
        return self._shapes.setdefault(key, object())  # two threads might count to the same number

    def get(self, kind: Hashable) -> Repeat | None:
        """Returns how calls of a kind are launched; None where that is not known, or not to be repeated."""
        return self._by_kind.get(kind)

    def run(self, kind: Hashable, launches: Sequence[Launch], tensors: Sequence[torch.Tensor]) -> None:
        """Makes a call's launches, and keeps how to make those of its kind."""
        launched = [(launch, launch.run()) for launch in launches]
        if kind not in self._by_kind:
            if len(self._by_kind) >= MOST_KINDS:
                self._by_kind.clear()
            self._by_kind[kind] = Repeat.of(launched, tensors)
