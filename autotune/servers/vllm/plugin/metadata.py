"""Names the tensors by which the dense ops know whose adapter each token has, in the order of their arguments
(contracts A4)."""

from __future__ import annotations

from typing import Final

NAMES: Final = (
    "token_lora_mapping",
    "token_indices_sorted_by_lora_ids",
    "num_tokens_per_lora",
    "lora_token_start_loc",
    "lora_ids",
    "no_lora_flag_cpu",
    "num_active_loras",
)
"""The last two lie on the CPU."""

COUNT: Final = len(NAMES)
MAPPING: Final = NAMES.index("token_lora_mapping")
NO_LORA: Final = NAMES.index("no_lora_flag_cpu")
LORA_IDS: Final = NAMES.index("lora_ids")
GROUPS: Final = NAMES.index("num_active_loras")
