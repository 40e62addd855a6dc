"""Settings for tests that ask what comes out and not how long it takes."""

from __future__ import annotations

from autotune.measure.settings import MeasureSettings

PATIENT = MeasureSettings(measure_timeout_s=300.0, compile_timeout_s=300.0)
"""Waits as long as a busy machine may need."""
