"""Guards against data from elsewhere: reads files within bounds, prints text escaped, checks names of files."""

from __future__ import annotations
