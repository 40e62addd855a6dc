"""Holds all that is about SGLang: facts, files and lookups, defaults, flags it accepts, checks of its files, what to
mind."""

from __future__ import annotations
