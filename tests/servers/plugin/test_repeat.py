"""Launches of one call made again for another's tensors."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autotune.contract import Launch
from autotune.servers.plugin.repeat import Repeat


class Compiled:
    """Stands for Triton's compiled kernel: notes what it is launched with."""

    def __init__(self) -> None:
        self.launched: list[tuple[Any, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *parameters: self.launched.append((grid, *parameters))


KERNEL = SimpleNamespace(arg_names=["x_ptr", "out_ptr", "n", "BLOCK"])


def tensors() -> list[torch.Tensor]:
    return [torch.zeros(8), torch.zeros(8), torch.zeros(8)]


def launch(x: torch.Tensor, out: torch.Tensor) -> Launch:
    return Launch(KERNEL, (3, 2), (x, out, 7), {"BLOCK": 16, "num_warps": 4})


def test_tensors_are_exchanged_and_all_else_stays() -> None:
    first, second, kernel = tensors(), tensors(), Compiled()
    repeat = Repeat.of([(launch(first[2], first[0].view(2, 4)), kernel)], first)
    assert repeat is not None
    assert repeat.run(second)
    ((grid, x, out, n, block),) = kernel.launched
    assert x is second[2] and out is second[0]
    assert (grid, n, block) == ((3, 2, 1), 7, 16)


def test_it_keeps_no_tensor_alive() -> None:
    first = tensors()
    seen = [weakref.ref(each) for each in first]
    repeat = Repeat.of([(launch(first[0], first[1]), Compiled())], first)
    first.clear()
    gc.collect()
    assert repeat is not None
    assert [each() for each in seen] == [None, None, None]


def test_an_odd_address_launches_nothing() -> None:
    first, kernel = tensors(), Compiled()
    repeat = Repeat.of([(launch(first[0], first[1]), kernel)] * 2, first)
    assert repeat is not None
    assert not repeat.run([torch.zeros(8), torch.zeros(9)[1:], torch.zeros(8)])
    assert not kernel.launched
    assert repeat.run([torch.zeros(8), torch.zeros(8), torch.zeros(9)[1:]])  # which no launch takes
    assert len(kernel.launched) == 2


same = torch.zeros(8)


@pytest.mark.parametrize(
    ("known", "x", "kernel"),
    [
        (tensors(), torch.zeros(8), Compiled()),
        ([same, same.view(2, 4), torch.zeros(8)], same, Compiled()),
        ([odd := torch.zeros(9)[1:], *tensors()], odd, Compiled()),
        ([same, *tensors()], same, None),
    ],
    ids=["a copy", "two at one address", "an odd address", "the interpreter"],
)
def test_what_cannot_be_told_is_not_repeated(known: list[torch.Tensor], x: torch.Tensor, kernel: Any) -> None:
    assert Repeat.of([(launch(x, known[-1]), kernel)], known) is None


def test_a_parameter_that_is_left_out_is_not_guessed() -> None:
    known = tensors()
    short = Launch(KERNEL, (1,), (known[0], known[1]), {"BLOCK": 16})
    assert Repeat.of([(short, Compiled())], known) is None


def test_a_triton_whose_kernels_are_otherwise_is_not_repeated() -> None:
    """Nothing is raised, for the launch is done: who takes it for failed adds to the output again."""
    known = tensors()
    assert Repeat.of([(launch(known[0], known[1]), object())], known) is None
