"""Chooses what to measure next, when to give a config up, and when to stop.

`making.make_search` is the way in. A sampler ranks a finite space (`api.SpaceSampler`), a pruner cuts hopeless timings
short, a stop rule ends the study; how they work and how well is in `docs/searching.md`.
"""

from __future__ import annotations

SAMPLERS = ("auto", "random", "tpe", "gp", "grid", "sweep")
STOPS = ("auto", "none")
