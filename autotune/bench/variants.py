"""Variants of a server that are timed against each other, and the order in which their processes run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from autotune.errors import InputError

Lora = Literal["used", "unused", "off"]

DEFAULTS, FOLDER, UNUSED, OFF = "A", "B", "C", "N"


@dataclass(frozen=True)
class Variant:
    """One way to start the server.

    Attributes:
        name: A letter, or what ``--variant`` names it.
        about: A few words for tables.
        lora: Whether requests use adapters, LoRA is on and none uses it, or it is off.
        reads_folder: The server is given the folder of config files.
        environment: Variables that this variant alone has.
    """

    name: str
    about: str
    lora: Lora = "used"
    reads_folder: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


def standard(with_folder: bool) -> list[Variant]:
    """Returns the variants of every run: the server's defaults, the folder, LoRA on but unused, LoRA off."""
    folder = [Variant(FOLDER, "with the folder", reads_folder=True)] if with_folder else []
    return [
        Variant(DEFAULTS, "no folder: the server's defaults"),
        *folder,
        Variant(UNUSED, "LoRA on, no request uses it", lora="unused"),
        Variant(OFF, "LoRA off", lora="off"),
    ]


def parse(text: str) -> Variant:
    """Reads the variant that ``NAME:KEY=VALUE,...`` describes: the server's defaults with these variables set.

    Raises:
        InputError: If it is not spelled so, or takes the name of a standard variant.
    """
    name, _, rest = text.partition(":")
    pairs = [part.partition("=") for part in rest.split(",")] if rest else []
    if not name or not pairs or not all(key and equals for key, equals, _ in pairs):
        raise InputError(f"--variant: got {text!r}, allowed: NAME:KEY=VALUE,... e.g. P:LORA_AUTOTUNE_KERNELS=1")
    if name in (DEFAULTS, FOLDER, UNUSED, OFF):
        raise InputError(f"--variant: got the name {name}, which a standard variant has; give another one")
    if not name.isalnum():
        raise InputError(f"--variant: got the name {name!r}, allowed: letters and digits")
    environment = {key: value for key, _, value in pairs}
    return Variant(name, " ".join(f"{key}={value}" for key, value in environment.items()), environment=environment)


def order(variants: Sequence[Variant], rounds: int) -> Iterator[tuple[int, Variant]]:
    """Yields every variant once a round, forth and back in turn, so that no drift of the machine favours one: A B B
    A."""
    for turn in range(rounds):
        for variant in variants if turn % 2 == 0 else reversed(variants):
            yield turn, variant
