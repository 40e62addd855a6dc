"""What vLLM's model classes are made of, as tables: which modules there are, how wide, and which of them take LoRA."""
