"""Defines problems: the shapes of a kernel, the kinds of batch that one stands for, and the least work it can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from autotune.errors import InputError, one_of
from autotune.untrusted.printing import shortened

_DTYPE_ALIASES = {"fp16": "float16", "half": "float16", "bf16": "bfloat16", "fp32": "float32"}


def dtype_name(text: str) -> str:
    """Returns a dtype as problems spell it, of what users write: ``torch.float16``, ``half``, ``bf16``, ..."""
    name = text.removeprefix("torch.")
    return _DTYPE_ALIASES.get(name, name)


@dataclass(frozen=True)
class Problem:
    """One shape of one kernel: everything that fixes the work. Kernels subclass it with their own frozen fields.

    Raises:
        InputError: From the subclass's ``__post_init__``, for sizes that make no sense.
    """

    @property
    def label(self) -> str:
        """Short and readable, unique among the problems of a kernel; becomes part of the study's name."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Makes the problem that `to_json` was of.

        Raises:
            InputError: If no problem has these values.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise InputError(f"{cls.__name__}: got unknown field {one_of(unknown)}; allowed: {one_of(sorted(known))}")
        try:
            return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in data.items()})
        except TypeError as error:
            raise InputError(f"{cls.__name__}: cannot be made of {shortened(dict(data))} ({error})") from error


@dataclass(frozen=True)
class Workload:
    """One kind of batch among those that a problem stands for.

    Attributes:
        weight: Its share in the objective, relative to the other workloads' weights.
        problem: The same shape over this batch alone.
    """

    name: str
    weight: float
    problem: Problem


@dataclass(frozen=True)
class Floor:
    """The least work a problem can be: bytes through device memory (each tensor once) and floating-point operations."""

    bytes: int
    flops: int

    def us(self, bandwidth_bytes_per_s: float) -> float:
        """Returns the microseconds below which no kernel that moves these bytes can run at this memory bandwidth."""
        return self.bytes / bandwidth_bytes_per_s * 1e6


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
