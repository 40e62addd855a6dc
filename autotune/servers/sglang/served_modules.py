"""Imports the modules of SGLang's csgmv ops, which moved between releases, when they are first called."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from autotune.servers.sglang import facts
from autotune.servers.sglang.served_releases import CSGMV_SOURCES
from autotune.servers.source_check import ServedModules

SHRINK: Final = "chunked_sgmv_shrink"
EXPAND: Final = "chunked_sgmv_expand"
LOOKUP: Final = "lora_tuning_config"
"""The module that looks configs up; the package's own files lie beside it."""
BATCH: Final = "sglang.srt.lora.utils"
"""The module of the ops' metadata."""

_FOLDERS: Final = ("sglang.kernels.ops.lora.dense", "sglang.kernels.ops.gemm", "sglang.srt.lora.triton_ops")
"""Where the ops are, from the newest releases on."""

_BACKEND: Final = "sglang.srt.lora.backend.chunked_backend"

CSGMV: Final = ServedModules(
    package=facts.NAME,
    compiler="torch",
    names=[[*(f"{folder}.{name}" for name in (SHRINK, EXPAND, LOOKUP)), _BACKEND] for folder in _FOLDERS],
    known=CSGMV_SOURCES,
)
"""What the csgmv ops are made of, and the backend, which builds their metadata (contracts B8)."""

MODULES: Final[Mapping[str, ServedModules]] = {"csgmv_shrink": CSGMV, "csgmv_expand": CSGMV}
"""What the server's own kernels are made of, by the names of the built-in kernels of the same ops."""


@cache
def imported(name: str) -> Any:
    """Imports one of the ops' modules from where this release has it, or the module `BATCH`.

    Raises:
        InputError: If the package cannot be imported.
    """
    return CSGMV.load(name)
