"""The tool from Python: plan a model, make and run studies, read results, write and check files."""

from __future__ import annotations
