"""A GPU has one owner on its host, and is free when that one ends, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from autotune.errors import HeldError
from autotune.measure.gpu_lock import GpuLock

HOLDS = """
import sys, time
from autotune.measure.gpu_lock import GpuLock
lock = GpuLock(sys.argv[1])
print("held", flush=True)
time.sleep(600)
"""


def test_a_gpu_is_one_processes_until_it_dies() -> None:
    gpu = f"GPU-{uuid.uuid4()}"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", HOLDS, gpu], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"held\n"
        with pytest.raises(HeldError, match=rf"^GPU {gpu} is being measured on by process {process.pid}; wait for it"):
            GpuLock(gpu)
        GpuLock(f"GPU-{uuid.uuid4()}").release()
        process.kill()
        process.wait()
    GpuLock(gpu).release()


def test_a_released_gpu_is_free() -> None:
    gpu = f"GPU-{uuid.uuid4()}"
    GpuLock(gpu).release()
    GpuLock(gpu).release()
