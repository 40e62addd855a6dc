"""What a study is about and what it keeps in the Optuna storage; written and read here alone."""

from __future__ import annotations
