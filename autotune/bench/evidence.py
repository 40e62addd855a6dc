"""Checks by what a process of the engine showed of itself that it is what its variant says it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autotune.bench.serve_folder import ServeFolder
from autotune.bench.variants import Variant
from autotune.contract.source import BUILTIN
from autotune.errors import AutotuneError
from autotune.servers.engine import Engine, EngineResult


@dataclass(frozen=True)
class Evidence:
    """What a process showed.

    Attributes:
        files: Config files that the engine says it read.
        plugin: What the plug-in said at start; None where it said nothing.
        sources: Whose LoRA kernels the profile saw; empty where it saw none.
        launches: How many launches of them.
    """

    files: tuple[str, ...]
    plugin: str | None
    sources: tuple[str, ...]
    launches: int

    @property
    def about(self) -> str:
        """Says whose LoRA kernels ran."""
        return " and ".join(self.sources) or "none seen"


def of(engine: Engine, result: EngineResult) -> Evidence:
    """Reads the log and the profile of a process."""
    kernels = [kernel for phase in result.phases for kernel in phase.lora_kernels]
    return Evidence(
        files=tuple(sorted(map(str, engine.folder_read(result.log)))),
        plugin=engine.plugin_said(result.log),
        sources=tuple(sorted({kernel.source for kernel in kernels})),
        launches=sum(kernel.launches for kernel in kernels),
    )


def check(variant: Variant, folder: ServeFolder, shown: Evidence, gpu: str) -> None:
    """Makes sure that a process was what its variant says.

    Raises:
        AutotuneError: If it was not; says what it was.
    """
    if problem := _of_files(variant, folder, shown, gpu) or _of_kernels(variant, shown):
        raise AutotuneError(f"variant {variant.name}: {problem}")


def _of_files(variant: Variant, folder: ServeFolder, shown: Evidence, gpu: str) -> str | None:
    """Says what is wrong with the config files that were read; the plug-in may leave none to the server."""
    if variant.must_read_folder:
        if not any(folder.served and Path(file).is_relative_to(folder.served) for file in shown.files):
            return (
                f"the engine's log does not say that it read a file of {folder.served}; is the folder for this GPU "
                f"({gpu})?"
            )
    elif shown.files and not variant.reads_folder and not variant.environment:
        return f"the engine read {shown.files[0]}, which it was not given"
    return None


def _of_kernels(variant: Variant, shown: Evidence) -> str | None:
    """Says what is wrong with the kernels that ran, and with what the plug-in said of them."""
    if variant.lora == "off" and shown.launches:
        return f"LoRA is off, yet {shown.launches} LoRA kernels ran"
    if not variant.with_plugin and (shown.plugin is not None or BUILTIN in shown.sources):
        said = f", and said {shown.plugin!r}" if shown.plugin is not None else ""
        return f"the plug-in is to be off, yet it ran{said}"
    if variant.with_plugin and variant.lora == "used":
        if shown.plugin is None:
            return (
                "the plug-in is to be on, yet the engine's log has no line of it; is it installed where the engine is?"
            )
        if shown.sources and BUILTIN not in shown.sources:
            return f"the plug-in says {shown.plugin!r}, yet all LoRA kernels that ran are of {shown.about}"
    return None
