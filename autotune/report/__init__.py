"""Writes what people read: tables, notes, the results page."""

from __future__ import annotations
