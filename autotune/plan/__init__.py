"""Plans: from a model and its server's flags to every lookup the server will make, and the studies for them."""

from __future__ import annotations
