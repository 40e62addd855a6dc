"""Measures configs: on a GPU (`cuda`) or in a recorded space (`replay`)."""
