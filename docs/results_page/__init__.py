"""Holds the sections of docs/results.md, a module each; `make_results.py` puts them together from docs/data."""
