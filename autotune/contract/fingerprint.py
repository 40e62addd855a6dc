"""Whether a kernel is still the one that was timed, told by its source."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path

from autotune.contract.kernel import AnyKernel


def kernel_fingerprint(kernel: AnyKernel) -> str:
    """Hashes a kernel's source: its folder and what built-in kernels share, the one file it lives in, or the modules
    of a server's package.

    Raises:
        InputError: For a server's own kernel whose package is not installed here.
    """
    if (origin := kernel.origin()) is not None:
        return origin.source_hash
    module = Path(inspect.getfile(type(kernel)))
    files = [module]
    if module.name == "kernel.py":
        files = sorted([*module.parent.glob("*.py"), *(module.parents[1] / "common").glob("*.py")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
