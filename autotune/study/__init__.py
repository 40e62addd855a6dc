"""Keeps studies in the Optuna storage: what each is about, and what became of it. No other room writes or reads
that."""

from __future__ import annotations
