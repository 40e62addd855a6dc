"""Plans a model: from it and its server's flags to every lookup the server will make, and the studies for them."""

from __future__ import annotations
