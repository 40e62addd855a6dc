"""Checks, looks up and compares anybody's config files."""

from __future__ import annotations
