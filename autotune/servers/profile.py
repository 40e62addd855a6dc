"""Profiles a server's engine for a short while, in its own process: which LoRA kernels were launched, and whose they
are."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from autotune.contract.source import BUILTIN
from autotune.servers.engine import KernelTime

_OURS = "autotune"
"""The package of the built-in kernels."""

_LORA = re.compile("lora", re.IGNORECASE)

_COMPILED = re.compile("triton_[a-z]+_fused_")
"""How the names of kernels begin that ``torch.compile`` makes: they go on with the ops whose results they take, so one
that says LoRA may be the base model's."""


@dataclass(frozen=True)
class Launches:
    """All launches of one kernel in a profile.

    Attributes:
        time_us: Microseconds of GPU time, all together.
    """

    count: int
    time_us: float


@dataclass(frozen=True)
class Profile:
    """What a run did on the GPU.

    Attributes:
        kernels: What ran, by name; copies and the like are among them.
        busy_us: Microseconds in which any of it ran: streams that overlap count once.
    """

    kernels: Mapping[str, Launches]
    busy_us: float


def of(run: Callable[[], object]) -> Profile:
    """Profiles what a run does on the GPU; empty where there is none."""
    import torch

    if not torch.cuda.is_available():
        run()
        return Profile({}, 0.0)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as found:
        run()
        torch.cuda.synchronize()
    events = (event for event in found.key_averages() if event.self_device_time_total > 0)
    kernels = {event.key: Launches(event.count, float(event.self_device_time_total)) for event in events}
    ran = (event.time_range for event in found.events() if event.device_type.name == "CUDA")
    return Profile(kernels, covered_us((each.start, each.end) for each in ran))


def covered_us(spans: Iterable[tuple[float, float]]) -> float:
    """Adds up the time that spans cover, each with its start and its end; what several cover counts once."""
    covered, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered


def without(whole: Profile, part: Profile) -> Profile:
    """Returns what a profile has beyond that of a part of its run, which was profiled apart."""
    none = Launches(0, 0.0)
    parts = {name: part.kernels.get(name, none) for name in whole.kernels}
    left = {
        name: Launches(all_.count - parts[name].count, max(all_.time_us - parts[name].time_us, 0.0))
        for name, all_ in whole.kernels.items()
    }
    kernels = {name: launches for name, launches in left.items() if launches.count > 0}
    return Profile(kernels, max(whole.busy_us - part.busy_us, 0.0))


def lora_kernels(profile: Profile, server: str) -> tuple[KernelTime, ...]:
    """Lists the LoRA kernels of a profile, the longest first.

    A kernel is a built-in one if a module of this project that this process has loaded defines it; another one is the
    server's if its name says LoRA, unless ``torch.compile`` made it.
    """
    ours = triton_kernels(_OURS)
    rows = [
        KernelTime(name[:120], BUILTIN if name in ours else server, launches.count, launches.time_us)
        for name, launches in profile.kernels.items()
        if name in ours or (_LORA.search(name) and not _COMPILED.match(name))
    ]
    return tuple(sorted(rows, key=lambda row: -row.time_us))


def triton_kernels(package: str) -> set[str]:
    """Returns the names of the Triton functions that the loaded modules of a package define."""
    from triton.runtime.jit import KernelInterface

    modules = {name: module for name, module in list(sys.modules.items()) if f"{name}.".startswith(f"{package}.")}
    values = ((name, value) for name, module in modules.items() for value in list(vars(module).values()))
    functions = ((name, value.fn) for name, value in values if isinstance(value, KernelInterface))
    return {str(function.__name__) for name, function in functions if function.__module__ == name}
