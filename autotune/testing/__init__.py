"""The conformance suite of kernels: ``pytest --pyargs autotune.testing --kernel path/to/file.py:NAME``."""
