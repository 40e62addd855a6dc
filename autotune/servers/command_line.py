"""Defines what the command line asks of a server: which flags are its, what they mean, and what to tell its users."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, ClassVar, Protocol

from autotune.contract import Call
from autotune.errors import InputError, one_of
from autotune.model.shape import ModelShape
from autotune.servers.places import folders
from autotune.servers.serve_command import ServeSyntax
from autotune.servers.shapes import Shape


@dataclass(frozen=True)
class OwnFlags:
    """The flags that belong to one server alone, by name.

    Attributes:
        problem: Of those that describe problems of kernels; kernels of another server refuse them.
        plan: Of those of a plan.
        lookup: Of those that describe a lookup.
    """

    problem: Collection[str] = ()
    plan: Collection[str] = ()
    lookup: Collection[str] = ()


class BlockLayer(Protocol):
    """One linear layer of a decoder block, on one GPU: a shrink and an expand."""

    @property
    def name(self) -> str: ...

    @property
    def flags(self) -> dict[str, Any]:
        """The flag values that tell kernels this layer's sizes."""

    def size_of(self, op: str, call: Call) -> int | None:
        """Returns the size at which an op of this layer makes a call, e.g. a chunk size; None if it never does."""


@dataclass(frozen=True)
class BlockSizes:
    """What is known of a decoder block; None where it is not.

    Attributes:
        qkv_widths: Of q, k and v, as given: all, or q's and k's, or their sum.
        model: Of which the block is.
    """

    hidden: int | None = None
    qkv_widths: tuple[int, ...] | None = None
    intermediate: int | None = None
    model: ModelShape | None = None


@dataclass(frozen=True)
class DecoderBlock:
    """The layers of a decoder block.

    Attributes:
        ops: The ops that run on each layer.
        notes: What was assumed; one line each.
    """

    ops: tuple[str, ...]
    layers: tuple[BlockLayer, ...]
    notes: tuple[str, ...] = ()

    def with_notes(self, notes: tuple[str, ...]) -> DecoderBlock:
        """Puts further notes before the others."""
        return replace(self, notes=(*notes, *self.notes))


class CommandLine(ABC):
    """What the command line asks of a server."""

    label: ClassVar[str]
    """How its makers spell its name."""
    own_flags: ClassVar[OwnFlags]
    serve_syntax: ClassVar[ServeSyntax]
    """How commands that start it are spelled."""
    ops: ClassVar[tuple[str, ...]]
    """The ops that it looks configs up for."""
    sizes: ClassVar[str]
    """What the sizes of a plan are, in a word or two."""
    modules_of_adapters: ClassVar[bool] = False
    """Whether it wraps the modules that its adapters name, and no others."""
    start: ClassVar[str]
    """The shell command that starts it with LoRA."""
    folder_variable: ClassVar[str]
    """The environment variable that names its config folder."""
    costs_of_variable: ClassVar[str]
    """What setting that variable changes beside the LoRA files that are there."""
    tunes_blocks: ClassVar[bool] = False
    """Whether `block` works: its users know a script that tunes all layers of a decoder block."""

    @abstractmethod
    def call(self, op: str, flags: Mapping[str, Any]) -> Call:
        """Builds the call that flags describe.

        Args:
            flags: Values by name; absent where not given.

        Raises:
            InputError: If one is missing.
        """

    @abstractmethod
    def gpu_of_file(self, file: PurePath) -> str | None:
        """Returns the GPU that a file is of, as its name spells it; None for a file that the server does not read.

        Args:
            file: Relative to the server's config folder.
        """

    @abstractmethod
    def file_of(self, shape: Shape) -> str:
        """Names the file, or files, that a plan's shape is looked up in."""

    def serve(self, directory: Path) -> str:
        """Returns the shell command that serves with the files of a folder."""
        return f"{self.folder_variable}={shlex.quote(str(directory.resolve()))} {self.start}"

    def block(self, sizes: BlockSizes) -> DecoderBlock:
        """Finds the layers of a decoder block.

        Raises:
            InputError: If the sizes do not tell them.
        """
        raise NotImplementedError

    def gpu_in(self, directory: Path) -> str:
        """Returns the GPU whose files a folder holds, as their names spell it.

        Raises:
            InputError: If there is none, or there are several.
        """
        if not directory.is_dir():
            raise InputError(f"{directory}: no such folder; give the server's config folder")
        there = ((path, folder) for folder in folders(directory) for path in folder.rglob("*.json"))
        names = {gpu for path, folder in there if (gpu := self.gpu_of_file(path.relative_to(folder))) is not None}
        if len(names) != 1:
            found = one_of(sorted(names)) or "none"
            raise InputError(f"--gpu: not given, and {directory} has files of: {found}; name one")
        return names.pop()


def sizes_given(wanted: Mapping[str, str], flags: Mapping[str, Any]) -> dict[str, int]:
    """Returns the sizes of a call.

    Args:
        wanted: The name of each size's flag.
        flags: Values of flags by name; absent where not given.

    Raises:
        InputError: If a flag is missing.
    """
    spelled = {size: f"--{flag.replace('_', '-')}" for size, flag in wanted.items()}
    if missing := [spelled[size] for size, flag in wanted.items() if flag not in flags]:
        raise InputError(f"{missing[0]}: not given; this lookup needs {one_of(spelled.values())}")
    return {size: int(flags[flag]) for size, flag in wanted.items()}
