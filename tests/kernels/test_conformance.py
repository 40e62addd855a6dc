"""Runs the conformance suite over the kernels of this repository."""

from __future__ import annotations

from autotune.testing.test_conformance import *  # noqa: F403
