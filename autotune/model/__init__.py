"""What a model's config.json and its adapters say: layers that take LoRA and their sizes. The one reader of both."""

from __future__ import annotations
