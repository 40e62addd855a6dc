"""Benchmarks the search, replayed (`search`) or against measuring everything on a GPU (`sweep`), and what config files
are worth on the server's own engine (`serve`)."""

from __future__ import annotations
