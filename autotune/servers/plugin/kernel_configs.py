"""Finds the tuned configs of one of our kernels for the GPU that a server's process runs on."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import torch

from autotune.contract import Call, Config
from autotune.contract.fingerprint import file_fingerprint
from autotune.contract.gpu import INTERPRETER
from autotune.servers.lookup import Lookup
from autotune.servers.plugin.configs import TunedConfigs, Tuner

L = TypeVar("L", bound=Callable[[Call], Lookup])


class KernelConfigs(Generic[L]):
    """What a folder has for one of our kernels, where there is a folder.

    It is read at the first call: a plug-in is loaded before the server chooses its GPU.

    Args:
        folder: Where tuned configs are; None for defaults alone.
        looking_up: Returns the server's rule in a folder, for a GPU.
        kernel: The file of the kernel, whose version it tells.
        required: What a config must hold.
    """

    def __init__(
        self,
        folder: Path | None,
        looking_up: Callable[[Path, str], L],
        kernel: Path,
        required: tuple[str, ...],
    ) -> None:
        self._folder = folder
        self._looking_up = looking_up
        self._kernel = kernel
        self._required = required

    def find(self, call: Call | None, workload: str | None = None) -> Config | None:
        """Returns the config of a call; None where there is none to use, or no file has a say.

        Args:
            workload: As `TunedConfigs.find` takes it.
        """
        return None if call is None or self._tuned is None else self._tuned.find(call, workload)

    def reject(self, call: Call, why: str) -> None:
        """Leaves the config that a call finds out from now on, since it does not run."""
        if self._tuned is not None:
            self._tuned.reject(call, why)

    @cached_property
    def lookup(self) -> L | None:
        """The server's rule in the folder; None where there is none."""
        return None if self._folder is None else self._looking_up(self._folder, _gpu_name())

    @cached_property
    def _tuned(self) -> TunedConfigs | None:
        if self._folder is None or self.lookup is None:
            return None
        here = Tuner(_gpu_name(), file_fingerprint(self._kernel))
        return TunedConfigs(self._folder, self.lookup, here, self._required)


def _gpu_name() -> str:
    """Returns the name that servers' own lookups ask for (contracts A1, B1)."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else INTERPRETER.name
