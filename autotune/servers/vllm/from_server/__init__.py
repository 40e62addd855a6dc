"""Reads the lookups of a model off vLLM's own classes: built on the meta device, in a process of its own."""
