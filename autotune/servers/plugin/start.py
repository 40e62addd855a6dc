"""Starts the plug-in from a server's entry point."""

from __future__ import annotations

import importlib

from autotune.servers.plugin import tracer
from autotune.servers.plugin.notices import one_line, warn_once
from autotune.servers.trace_line import VARIABLE


def start(package: str) -> None:
    """Puts our kernels in the place of the server's, once, where the switch asks for it and they are proven, and has
    lookups recorded where that is asked for.

    It never raises: a server may die of it.

    Args:
        package: The server's plug-in, with a module ``state`` that decides, and modules ``install`` and ``tracing``.
    """
    _start_kernels(package)
    if (path := tracer.path()) is None:
        return
    try:
        importlib.import_module(f"{package}.tracing").install()
        warn_once(f"{VARIABLE}: what the server looks up is recorded in {path}")
    except Exception as error:  # see above
        warn_once(f"{VARIABLE}: nothing is recorded: {one_line(error)}")


def _start_kernels(package: str) -> None:
    try:
        found = importlib.import_module(f"{package}.state").current()
        if found.ops:
            importlib.import_module(f"{package}.install").install(found)
        for line in (found.line, found.ignored):
            if line:
                warn_once(line)
    except Exception as error:  # see above
        warn_once(f"the server's own kernels run: {one_line(error)}")
