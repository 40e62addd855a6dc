"""Parses the command line, calls, and prints."""

from __future__ import annotations
