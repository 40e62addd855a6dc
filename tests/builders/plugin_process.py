"""A server's process with the plug-in: a child of the tests', with a stand-in of vLLM's package on its path."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.builders import served_vllm
from tests.builders.child import variables
from tests.builders.torch_fork import run_forked

_START = """
import json, sys
from tests.builders.plugin_child import *
from autotune.servers.vllm.plugin import register
"""

COUNTED = textwrap.dedent(
    """
    from autotune.contract.launch import Launch

    laid_out, own_run = [], Launch.run

    class Interpreted:
        "Stands for what Triton compiles, which its interpreter does not."

        def __init__(self, launch):
            self.launch = launch

        def __getitem__(self, grid):
            names = self.launch.fn.arg_names
            others = {name: value for name, value in self.launch.options.items() if name not in names}
            return lambda *parameters: self.launch.fn[grid](*parameters, **others)

    def counted(launch):
        laid_out.append(launch.fn)
        found = own_run(launch)
        return Interpreted(launch) if found is None else found

    Launch.run = counted
    """
)
"""A script that begins so has `laid_out`, the kernels of launches that repeat no other."""


def run(folder: Path, script: str, environment: Mapping[str, str]) -> tuple[Any, list[str]]:
    """Runs a script in a process of its own, on the device that the tests run on.

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
    done = run_forked(folder, _START + textwrap.dedent(script), variables(package, **environment))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), [line for line in done.stderr.splitlines() if line.startswith("lora-autotune: ")]
