"""Writes finished studies into the files that a server loads, and proves that it finds them."""

from __future__ import annotations
