"""What a server's entry point of the plug-in does."""

from __future__ import annotations

import importlib

from autotune.servers.plugin.notices import warn_once


def start(package: str) -> None:
    """Puts our kernels in the place of the server's, once, where the switch asks for it and they are proven.

    It never raises: a server may die of it.

    Args:
        package: The server's plug-in, with a module ``state`` that decides, and a module ``install``.
    """
    try:
        found = importlib.import_module(f"{package}.state").current()
        if found.ops:
            importlib.import_module(f"{package}.install").install(found)
        for line in (found.line, found.ignored):
            if line:
                warn_once(line)
    except Exception as error:  # see above
        warn_once(f"the server's own kernels run: {type(error).__name__}: {error}")
