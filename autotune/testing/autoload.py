"""Adds the suite's options to pytest where a command line asks for the suite, and only there.

pytest loads this module into every session of an environment that has the tool, so it stays small and claims no option.
"""

from __future__ import annotations

import pytest

_SUITE = "autotune.testing"


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    asked_for: list[str] = early_config.known_args_namespace.file_or_dir
    if any(f"{name}.".startswith(f"{_SUITE}.") for name in asked_for):
        early_config.pluginmanager.import_plugin(f"{_SUITE}.plugin")
