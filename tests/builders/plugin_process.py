"""A server's process with the plug-in: a child of the tests', with a stand-in of vLLM's package on its path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.builders import served_vllm

ROOT = Path(__file__).parents[2]

_START = """
import json, sys
from tests.builders.plugin_child import *
from autotune.servers.vllm.plugin import register
"""


def run(folder: Path, script: str, environment: Mapping[str, str]) -> tuple[Any, list[str]]:
    """Runs a script in a process of its own, in Triton's interpreter.

    Args:
        folder: Where the stand-in's package is laid out, once.
        script: Prints one line of JSON; begins with all of `plugin_child` and `register`.
        environment: Variables beside the tests' own.

    Returns:
        What it printed, and the lines that the plug-in logged.
    """
    package = folder / "site"
    if not package.exists():
        served_vllm.install(package)
    variables = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": f"{package}:{ROOT}", **environment}
    command = [sys.executable, "-c", _START + textwrap.dedent(script)]
    done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), [line for line in done.stderr.splitlines() if line.startswith("lora-autotune: ")]
