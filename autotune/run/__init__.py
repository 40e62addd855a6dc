"""Runs studies to their results: the search loop, the race of finalists, groups, and how studies share time and GPU."""

from __future__ import annotations
