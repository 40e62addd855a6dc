"""Tunes the Triton kernels of multi-LoRA serving: one Optuna study per kernel shape."""

from __future__ import annotations

__version__ = "0.1.0"
