"""Guards against data from elsewhere: files are read within bounds, text is printed escaped, names of files are
checked."""

from __future__ import annotations
