"""Holds what a plug-in that puts our kernels in a server's place needs, whatever the server.

It runs inside the server's processes: nothing here imports more than torch, Triton and the rooms below, so that
``pip install --no-deps`` beside a server is enough.
"""

from __future__ import annotations
