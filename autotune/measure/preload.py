"""Loads once what every worker process needs, in the server they are forked from; touches no GPU."""

from __future__ import annotations

import os
import sys

# Workers compile for real, also where who starts them interprets, or starts this server again after it was killed.
# A process that has loaded Triton has chosen already: it would interpret and compile at once.
if "triton" not in sys.modules:
    os.environ.pop("TRITON_INTERPRET", None)

# A signal to all of a group, as Slurm and `timeout` send it, is for who started this server to handle: without it, the
# step that a run is at cannot be finished.
if os.getpgrp() != os.getpid():
    os.setpgid(0, 0)

import torch
import triton
import triton.compiler
from triton.runtime.cache import triton_key

from autotune.contract import registry
from autotune.measure import compiling, worker

__all__ = ["compiling", "torch", "triton", "worker"]

for name in registry.installed().names():
    registry.installed().get(name).load_code()
# The package of an installed server takes longer to load than a config may take to compile.
registry.import_served()
# Part of every key of Triton's cache, a digest of all of Triton: kept, so that no worker makes it again.
triton_key()
