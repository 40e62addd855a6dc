"""Describes vLLM's model classes by tables: which modules there are, how wide, and which of them take LoRA."""
