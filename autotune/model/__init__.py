"""Reads what a model's config.json and its adapters say: layers that take LoRA and their sizes. Nothing else reads
them."""

from __future__ import annotations
