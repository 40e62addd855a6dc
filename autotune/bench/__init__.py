"""Benchmarks of the search: replayed on recorded spaces (`search`), on a GPU against measuring everything (`sweep`)."""

from __future__ import annotations
