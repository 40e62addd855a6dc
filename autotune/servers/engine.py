"""Describes what a run of a server's own engine is asked for and what it tells, as plain data between two processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class EnginePhase:
    """One kind of batch that the engine is timed on.

    Attributes:
        requests: Sequences in the batch.
        prompt_tokens: Tokens of each prompt.
        new_tokens: Tokens to generate for each; 1 times the prefill alone.
    """

    name: str
    requests: int
    prompt_tokens: int
    new_tokens: int

    @property
    def is_decode(self) -> bool:
        return self.new_tokens > 1


@dataclass(frozen=True)
class LoraJob:
    """The LoRA half of a job.

    Attributes:
        adapters: Folders of adapters, at most `max_loras`.
        used: Requests use the adapters; otherwise LoRA is on and no request uses it.
    """

    rank: int
    max_loras: int
    adapters: tuple[str, ...]
    used: bool


@dataclass(frozen=True)
class EngineJob:
    """One process of the engine: what it loads and what it times.

    Attributes:
        model: Folder of the model's config.json, and of its weights unless `dummy_weights`.
        lora: None for LoRA switched off.
        repeats: Timed runs of each phase.
    """

    model: str
    dummy_weights: bool
    lora: LoraJob | None
    phases: tuple[EnginePhase, ...]
    repeats: int
    max_model_len: int
    seed: int = 0


@dataclass(frozen=True)
class KernelTime:
    """A kernel's launches in the profiled steps of a phase.

    Attributes:
        source: Whose kernel it is: the server's, by its name, or ``builtin``.
        time_us: Microseconds of GPU time, all launches together.
    """

    name: str
    source: str
    launches: int
    time_us: float


@dataclass(frozen=True)
class PhaseResult:
    """What one process measured of a phase.

    Attributes:
        ms: Milliseconds of each timed run: a step of a decode, the whole of a prefill.
        tokens_per_s: Of each timed run; generated tokens of a decode, prompt tokens of a prefill.
        lora_kernels: The profile's LoRA kernels; empty where nothing was profiled.
        profiled_steps: Steps that the profile is of: some of a decode without its prefill, or the one of a prefill.
        gpu_ms: Milliseconds of such a step in which the GPU ran anything; None where nothing was profiled.
    """

    name: str
    ms: tuple[float, ...]
    tokens_per_s: tuple[float, ...]
    lora_kernels: tuple[KernelTime, ...] = ()
    profiled_steps: int = 1
    gpu_ms: float | None = None


@dataclass(frozen=True)
class Answer:
    """What the engine said to one prompt, greedily.

    Attributes:
        logprobs: By step, the log-probability of each of the likeliest tokens.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[Mapping[int, float], ...]


@dataclass(frozen=True)
class EngineResult:
    """What one process of the engine measured.

    Attributes:
        gpu: As the driver spells it.
        versions: Of the server, torch and Triton.
        start_s: Seconds from the process's start until the engine was ready.
        jit_compiles: Triton kernels compiled while phases were timed, once for each compilation; there should be none.
    """

    gpu: str
    versions: Mapping[str, str]
    start_s: float
    phases: tuple[PhaseResult, ...]
    jit_compiles: tuple[str, ...]
    answers: tuple[Answer, ...]
    log: str = field(default="", compare=False)

    def phase(self, name: str) -> PhaseResult:
        return next(phase for phase in self.phases if phase.name == name)


class Engine(Protocol):
    """A server whose engine can be run offline, in a process of its own."""

    @property
    def package(self) -> str:
        """The distribution that must be installed."""

    @property
    def folder_variable(self) -> str:
        """The environment variable that names the folder of config files."""

    def command(self, job: Path, result: Path) -> list[str]:
        """Returns the command that reads an `EngineJob` as JSON and writes an `EngineResult` as JSON."""

    def folder_read(self, log: str) -> set[Path]:
        """Returns the config files that the engine's log says it read."""

    def why_it_ended(self, log: str) -> str | None:
        """Returns why an engine ended, with what to do, in a few words; None where its log does not tell."""

    def plugin_installed(self) -> bool:
        """Tells whether the server will find the plug-in that puts the built-in kernels in place of its own."""

    def plugin_said(self, log: str) -> str | None:
        """Returns what the plug-in told the engine's log at start; None where it is off, or not there."""

    def recorder_said(self, log: str) -> str | None:
        """Returns the last that the plug-in's recorder of lookups told the engine's log; None where it said nothing."""
