"""What the dense LoRA kernels share: problems, adapter metadata, address tables, tile limits, rounding."""
