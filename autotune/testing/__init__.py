"""Checks kernels for conformance: ``pytest --pyargs autotune.testing --kernel path/to/file.py:NAME``."""
