"""Defines the variants of a server that are timed against each other, and the order in which their processes run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from autotune.bench.serve_folder import ServeFolder
from autotune.errors import InputError
from autotune.servers import places, trace_line

Lora = Literal["used", "unused", "off"]

DEFAULTS, FOLDER, UNUSED, PLUGIN, OFF = "A", "B", "C", "D", "N"
_SWITCHED_OFF = ("", "0")


@dataclass(frozen=True)
class Variant:
    """One way to start the server.

    Attributes:
        name: A letter, or what ``--variant`` names it.
        about: A few words for tables.
        lora: Whether requests use adapters, LoRA is on and none uses it, or it is off.
        reads_folder: The server is given the folder with files for its own kernels.
        environment: Variables that this variant alone has.
    """

    name: str
    about: str
    lora: Lora = "used"
    reads_folder: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def with_plugin(self) -> bool:
        """Whether the plug-in is on."""
        return self.environment.get(places.SWITCH, "") not in _SWITCHED_OFF

    @property
    def trace(self) -> Path | None:
        """The file that the plug-in records lookups in; None where it does not."""
        named = self.environment.get(trace_line.VARIABLE, "")
        return Path(named) if named else None

    @property
    def needs_plugin(self) -> bool:
        """Whether the variant is nothing without the plug-in."""
        return self.with_plugin or self.trace is not None

    @property
    def must_read_folder(self) -> bool:
        """Whether the server's own kernels cannot run without reading the folder."""
        return self.reads_folder and not self.with_plugin


def standard(folder: ServeFolder, plugin_installed: bool) -> list[Variant]:
    """Returns the variants of every run: the server's defaults, the folder, the plug-in with its files, LoRA on but
    unused, LoRA off."""
    with_folder = []
    if folder.served:
        with_folder.append(Variant(FOLDER, "with the folder", reads_folder=True))
    if folder.builtin and plugin_installed:
        with_folder.append(_plugin(folder.builtin, folder.served is not None))
    return [
        Variant(DEFAULTS, "no folder: the server's defaults"),
        *with_folder,
        Variant(UNUSED, "LoRA on, no request uses it", lora="unused"),
        Variant(OFF, "LoRA off", lora="off"),
    ]


def _plugin(builtin: Path, reads_folder: bool) -> Variant:
    """Returns the variant of the plug-in: what it leaves to the server's own kernels goes by the server's files."""
    about = f"the plug-in, with the folder's {builtin.name}/"
    return Variant(PLUGIN, about, "used", reads_folder, {places.SWITCH: "1", places.VARIABLE: str(builtin)})


def parse(text: str) -> Variant:
    """Reads the variant that ``NAME:KEY=VALUE,...`` describes: the server's defaults with these variables set.

    Raises:
        InputError: If it is not spelled so, or takes the name of a standard variant.
    """
    name, _, rest = text.partition(":")
    pairs = [part.partition("=") for part in rest.split(",")] if rest else []
    if not name or not pairs or not all(key and equals for key, equals, _ in pairs):
        raise InputError(f"--variant: got {text!r}, allowed: NAME:KEY=VALUE,... e.g. P:LORA_AUTOTUNE_KERNELS=1")
    if name in (DEFAULTS, FOLDER, UNUSED, PLUGIN, OFF):
        raise InputError(f"--variant: got the name {name}, which a standard variant has; give another one")
    if not name.isalnum():
        raise InputError(f"--variant: got the name {name!r}, allowed: letters and digits")
    environment = {key: value for key, _, value in pairs}
    return Variant(name, " ".join(f"{key}={value}" for key, value in environment.items()), environment=environment)


def order(variants: Sequence[Variant], rounds: int) -> Iterator[tuple[int, Variant]]:
    """Yields every variant once a round, back and forth in turn, so that no drift of the machine favours one: A B B
    A."""
    for turn in range(rounds):
        for variant in variants if turn % 2 == 0 else reversed(variants):
            yield turn, variant
