"""Fixtures of all kernels' tests."""

from __future__ import annotations

from dataclasses import replace

import pytest

CHECKED = "test_default_config_is_correct"


@pytest.fixture(autouse=True)
def _overflow_checks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """Leaves the check of sums for overflow, a quarter of the interpreter's time, to one test of each problem."""
    if device != "cpu" or request.function.__name__ == CHECKED:
        return
    from triton.runtime.interpreter import interpreter_builder

    monkeypatch.setattr(interpreter_builder, "options", replace(interpreter_builder.options, sanitize_overflow=False))
