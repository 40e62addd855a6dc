"""Tells whether the plug-in runs the shrink of linear layers beside the base's product: if a user wants it, and the
server's classes of layers are as known (contracts A15).

The plug-in asks of the classes that it has loaded, a plan of their file: where the shrink runs so, no pair does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final

from autotune.servers.source_check import method_hash
from autotune.servers.vllm.served_modules import DENSE

SWITCH: Final = "LORA_AUTOTUNE_SHRINK_BESIDE"
"""Set to 0 to have every shrink follow the base's product."""

MODULE: Final = "vllm.lora.layers.base_linear"
BASE: Final = "BaseLinearLayerWithLoRA"
"""The base class of linear layers, and where it is."""

APPLY: Final = "_apply_sync"
"""Its method that makes the base's product, and then calls the other one."""

AFTER: Final = "_apply_lora_to_output"

KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    APPLY: ("6f75594a6446cfda", "02cadccb09fe67d5"),
    AFTER: ("b666304f33819ba1",),
}
"""By method, the hashes of its sources in the known releases."""


def is_wanted() -> bool:
    """Tells what the user's switch says in this process's environment."""
    return os.environ.get(SWITCH) != "0"


def are_known(hash_of: Callable[[str], str]) -> bool:
    """Tells whether both methods are those of known releases.

    Args:
        hash_of: Returns the hash of a method's source, by its name.
    """
    return all(hash_of(name) in hashes for name, hashes in KNOWN.items())


def is_expected() -> bool:
    """Tells whether a server that is started in this environment runs captured shrinks so; where none is installed, one
    of a known release is meant."""
    if not is_wanted():
        return False
    if not DENSE.is_installed():
        return True
    file = DENSE.file(*MODULE.split(".")[1:-1], f"{MODULE.rpartition('.')[2]}.py")
    try:
        return file is not None and are_known(lambda name: method_hash(file, BASE, name))
    except (LookupError, OSError, SyntaxError):
        return False
