"""Processes of their own for tests: with a server's package on the path, on the device that the tests run on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def variables(*packages: Path, **more: str) -> dict[str, str]:
    """Returns the environment of a process that can import the checkout and these packages.

    It has what this one has, Triton's interpreter too, which ``--device cpu`` sets. What pytest and its plug-ins tell
    their own processes is left out: a suite that runs in the new process is nobody's worker.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**own, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *packages))), **more}


def run_suite(device: str, package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs pytest with these arguments, over a server's package."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, "--device", device]
    return subprocess.run(
        command, cwd=ROOT, env=variables(package), capture_output=True, text=True, timeout=1200, check=False
    )


def run_conformance(device: str, package: Path, kernel: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the conformance suite on a kernel that a server's package has."""
    suite = ("-p", "autotune.testing.plugin", "--pyargs", "autotune.testing", "--kernel", kernel)
    return run_suite(device, package, *suite, *arguments)


def run_compiling(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a script whose kernels are compiled, also where this process interprets them."""
    environment = {name: value for name, value in variables().items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def run_code(package: Path, code: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a script over a server's package."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=variables(package, **more),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
