"""Holds all that is about SGLang: facts, files, lookups, defaults, flags, checks of its files, what to mind."""

from __future__ import annotations
