"""The scripts in docs/ are no package: they are loaded by path."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from tests.builders.scripts import load_script


@pytest.fixture(scope="session")
def docs_module() -> Callable[[str], ModuleType]:
    return load_script
