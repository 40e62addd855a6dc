"""Tells what a measurement depends on, besides the kernel and the problem: GPU, driver, versions, cores."""

from __future__ import annotations

import functools
import math
import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from autotune.contract import Gpu
from autotune.errors import InputError

_SMI = "nvidia-smi"
_DEVICES = ("/dev/nvidiactl", "/dev/dxg")
"""The driver's own devices, on Linux and under WSL: a container may have them without nvidia-smi."""
_MODULE = Path("/sys/module/nvidia/version")
"""Where Linux tells the version of the driver that is loaded; WSL does not."""
_CGROUPS = Path("/sys/fs/cgroup")
"""Where a container sees the limits it runs under."""


@dataclass(frozen=True)
class Environment:
    """A machine's GPU, driver and versions; None for what a recording does not tell."""

    gpu: str
    driver: str | None = None
    cuda: str | None = None
    torch: str | None = None
    triton: str | None = None

    @property
    def known(self) -> dict[str, str]:
        """What is known of it, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def installed_version(package: str) -> str | None:
    """Returns the version of an installed package, without importing it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def usable_cores() -> int:
    """Returns how many cores this process may keep busy: a container or `taskset` may give it fewer than there are."""
    allowed = len(os.sched_getaffinity(0))
    share = _core_share()
    return allowed if share is None else max(1, min(allowed, math.ceil(share)))


def _core_share() -> float | None:
    """Returns the cores' worth of time that a container's limit grants; None without one.

    Linux tells it as "quota period", or as a file each in older releases; "max" or -1 stands for no limit.
    """
    try:
        if (unified := _CGROUPS / "cpu.max").exists():
            quota, period = unified.read_text().split()
        else:
            quota, period = ((_CGROUPS / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def cuda_available() -> bool:
    """Tells whether torch is installed and sees a CUDA GPU; torch takes seconds to load, and needs a driver."""
    if not driver_installed():
        return False
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def driver_installed() -> bool:
    """Tells whether there may well be a GPU, without loading torch, which takes seconds."""
    return shutil.which(_SMI) is not None or any(Path(device).exists() for device in _DEVICES)


def current_gpu() -> Gpu:
    """Returns the GPU that studies of this process are tuned on.

    Raises:
        InputError: If there is none.
    """
    if not cuda_available():
        torch_version = installed_version("torch") or "not installed"
        raise InputError(
            f"--backend cuda: no CUDA GPU here (torch {torch_version}); use a machine with one, or --backend replay"
        )
    import torch

    found: Any = torch.cuda.get_device_properties(0)
    return Gpu(
        name=found.name,
        capability=(found.major, found.minor),
        sms=found.multi_processor_count,
        shared_bytes=found.shared_memory_per_block_optin,
        l2_bytes=found.L2_cache_size,
    )


def gpu_uuid() -> str | None:
    """Returns the UUID of the GPU that this process measures on; None where there is none."""
    if not cuda_available():
        return None
    import torch

    found: Any = torch.cuda.get_device_properties(0)
    return f"GPU-{found.uuid}"


def current_environment() -> Environment:
    """Reads what this process measures with, as kept on a study and in the provenance of its files."""
    import torch

    return Environment(
        gpu=current_gpu().name,
        driver=driver_version() or "unknown",
        cuda=str(torch.version.cuda),
        torch=torch.__version__,
        triton=installed_version("triton") or "not installed",
    )


def driver_version() -> str | None:
    """Returns the NVIDIA driver's version: from a file where there is one, so that no command waits for nvidia-smi."""
    with suppress(OSError):
        return _MODULE.read_text().strip()
    return _ask_driver("driver_version")


def gpu_of_driver() -> str | None:
    """Returns the first GPU's name as the driver spells it, without a CUDA context of this process's own; None where
    there is no driver."""
    return _ask_driver("name")


@functools.cache
def _ask_driver(field: str) -> str | None:
    """Asks nvidia-smi, which takes a while, once: no process outlives a change of driver."""
    if (command := shutil.which(_SMI)) is None:
        return None
    query = [command, f"--query-gpu={field}", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return answer.stdout.splitlines()[0].strip() if answer.returncode == 0 and answer.stdout else None
