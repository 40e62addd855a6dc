"""Holds what the tool relies on of vLLM 0.33.0: each name, list and threshold, once, with its source in contracts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from autotune.contract import Value
from autotune.contract.gpu import underscored

NAME: Final = "vllm"

CONFIG_FOLDER: Final = "VLLM_TUNED_CONFIG_FOLDER"
"""Environment variable that names the folder of config files (contracts A1)."""

BATCH_INVARIANT: Final = "VLLM_BATCH_INVARIANT"
"""Environment variable that keeps a server from reading any config file (contracts A1)."""

BATCH_INVARIANT_SPLIT_K: Final = 1
"""The split_k of a batch-invariant server's shrink, as its lookup has it (contracts A2)."""

# Ops and their files.

FILE: Final = re.compile(
    r"(?P<gpu>.+?)_(?P<op>SHRINK|EXPAND_TRUE|EXPAND_FALSE|LORA_LINEAR|FUSED_MOE_LORA_(?:W13|W2)_(?:SHRINK|EXPAND)|"
    r"ALIGNED_MOE_LORA_(?:W13|W2))\.json"
)
"""Names of the files that servers read, those of fused MoE LoRA included (contracts A1), and of those that our plug-in
alone does (contracts A15, A17)."""

BASE_MOE_FILE: Final = re.compile(r"E=\d+,N=\d+,.*device_name=.*\.json")
"""Names of the base model's expert tiles, which a server reads from the same folder (contracts A1)."""

SSM_FILE: Final = re.compile(r"headdim=\d+,dstate=\d+,device_name=.*,cache_dtype=\w+\.json")
"""Names of the tiles of state-space layers, which a server reads from the same folder (contracts A1)."""

DENSE_LEVELS: Final = ("max_loras", "num_slices", "m", "k", "n")
"""Levels of a dense op's file, outermost first (contracts A1)."""

LINEAR: Final = "linear"
"""The op that only our plug-in has: shrink and expand of one linear layer (contracts A15)."""

LINEAR_LEVELS: Final = ("max_loras", "num_slices", "m", "k", "rank", "n")
"""Levels of that op's file (contracts A15)."""

LINEAR_KEYS: Final = ("block_m", "block_n", "block_k", "block_r", "split_k", "num_warps", "num_stages", "launches")
"""What an entry of that file has (contracts A15)."""

MOE_LEVELS: Final = (*DENSE_LEVELS, "i")
"""Levels of a file of fused MoE LoRA (contracts A1)."""

EXACT_LEVEL: Final = "num_slices"
"""The one level that a server indexes directly: a number of slices has no neighbours (contracts A1)."""

W13_SHRINK: Final = "fused_moe_lora_w13_shrink"
W13_EXPAND: Final = "fused_moe_lora_w13_expand"
W2_SHRINK: Final = "fused_moe_lora_w2_shrink"
W2_EXPAND: Final = "fused_moe_lora_w2_expand"
MOE_OPS: Final = (W13_SHRINK, W13_EXPAND, W2_SHRINK, W2_EXPAND)
"""The ops of fused MoE LoRA; each has a file of its own (contracts A1)."""

MOE_GROUP: Final = "fused_moe_lora"
"""How the names of these ops begin (contracts A1), and what the group of kernels is called that is tuned for them."""

ALIGNED_W13: Final = "aligned_moe_lora_w13"
ALIGNED_W2: Final = "aligned_moe_lora_w2"
ALIGNED_OPS: Final = (ALIGNED_W13, ALIGNED_W2)
"""The ops that only our plug-in looks up: a product of the experts in one launch, on rows that the server has aligned
(contracts A17)."""

ALIGNED_KEYS: Final = ("block_m", "block_n", "block_k", "column_blocks", "num_warps", "num_stages")
"""What an entry of their files has (contracts A17)."""

ALIGNED_BLOCK_MS: Final = (16, 32, 64, 128)
"""Values of the server's block_m that our kernel takes (contracts A17)."""

USUAL_SLICES: Final = frozenset({1, 2, 3})
"""The num_slices that the dense layers of nearly every model look up: o_proj, gate_up and qkv (contracts A5)."""

# Entries.

ENTRY_KEYS: Final = (
    "block_m",
    "block_n",
    "block_k",
    "split_k",
    "num_warps",
    "num_ctas",
    "num_stages",
    "max_nreg",
    "group_size_m",
)
"""What an entry of any LoRA file has, in this order; the dense ops require most of them (contracts A3)."""

DENSE_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "shrink": ("block_m", "block_n", "block_k", "split_k", "num_warps", "num_stages", "num_ctas"),
    "expand": ("block_m", "block_n", "block_k", "num_warps", "num_ctas", "num_stages"),
}
"""By dense op, the keys that it reads with `config[key]`, in its order: the first one absent is the server's KeyError
(contracts A3)."""

TRITON_OWN: Final[Mapping[str, Value]] = {"num_warps": 4, "num_stages": 3, "num_ctas": 1}
"""What runs where a dense entry has null for one of these: the op hands it on, and Triton takes its own (contracts
A3)."""

GROUP_SIZE: Final = 8
"""The group_size_m of every default, and of an entry that leaves it out (contracts A2, A3)."""

MOE_READ_AS: Final[Mapping[str, str]] = {
    "block_m": "BLOCK_SIZE_M",
    "block_n": "BLOCK_SIZE_N",
    "block_k": "BLOCK_SIZE_K",
    "group_size_m": "GROUP_SIZE_M",
    "num_warps": "NUM_WARPS",
    "num_stages": "NUM_STAGES",
    "split_k": "SPLIT_K",
}
"""The names under which the kernels of fused MoE LoRA look for the keys of an entry (contracts A3)."""

MOE_FALLBACK: Final[Mapping[str, Value]] = {
    "block_m": 64,
    "block_n": 64,
    "block_k": 32,
    "group_size_m": GROUP_SIZE,
    "num_warps": 4,
    "num_stages": 3,
    "split_k": 1,
}
"""What those kernels take for a key that an entry lacks (contracts A3)."""

# What a server accepts.

ADAPTER_NUMBERS: Final = ("r", "lora_alpha")
"""Fields of an adapter that must be numbers (contracts A9)."""

ADAPTER_REQUIRED: Final = (*ADAPTER_NUMBERS, "target_modules")
"""Fields that an adapter's config must have (contracts A9)."""

SAVED_MODULES: Final = ("classifier", "score")
"""Modules that an adapter may bring whole (contracts A9)."""

REFUSED_FEATURES: Final[Mapping[str, str]] = {
    "use_dora": "DoRA",
    "lora_bias": "LoRA biases",
    "alora_invocation_tokens": "activated LoRA (aLoRA)",
    "layer_replication": "layer_replication",
    "use_bdlora": "block-diagonal LoRA",
    "use_qalora": "QALoRA",
}
"""Fields of an adapter's config that must not be set, and what they are (contracts A9)."""

PLAIN_INITS: Final = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Values of init_lora_weights, besides booleans, that leave the base model's weights alone (contracts A9)."""

RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Allowed values of ``max_lora_rank`` (contracts A5)."""

DEFAULT_MAX_NUM_SEQS: Final = 256
"""What the tool takes for ``--max-num-seqs`` where it is not given (contracts A7)."""

DEFAULT_MAX_NUM_BATCHED_TOKENS: Final = 8192
"""What the tool takes for ``--max-num-batched-tokens`` where it is not given (contracts A7)."""

MAX_CAPTURE: Final = 512
"""The most tokens that a CUDA graph is captured for (contracts A7)."""

MAX_LM_HEAD_COLUMNS: Final = 258_048
"""An lm_head with more columns takes no LoRA (contracts A5)."""

SERVE_SWITCHES: Final = frozenset({"--enable-lora", "--trust-remote-code", "--enable-prefix-caching"})
"""Frequent flags of ``vllm serve`` that take no value (contracts A11)."""

SERVING_IMAGES: Final = ("vllm/vllm-openai",)
"""Containers whose entry point is ``vllm serve`` (contracts A11)."""

THROUGHPUT: Final = "throughput"
"""The ``--performance-mode`` that doubles the defaults of a batch's limits (contracts A11)."""

OWN_CLASSES: Final = ("auto", "vllm")
"""Values of ``--model-impl`` with which vLLM builds a model of classes of its own, where it has any (contracts A11)."""

NO_GRAPHS: Final = ("NONE", "0")
"""Values of a compilation config's ``cudagraph_mode`` with which nothing is captured (contracts A11)."""

DUAL_STREAM: Final = "VLLM_LORA_ENABLE_DUAL_STREAM"
"""Environment variable that lets LoRA run beside the base layers (contracts A4, A11)."""

DEFAULT_RANK: Final = 16
"""The default of ``--max-lora-rank`` (contracts A11)."""

DEFAULT_MAX_LORAS: Final = 1
"""The default of ``--max-loras`` (contracts A11)."""

# Which kernels run for the experts.

ServerPath = Literal["one-shot", "two-kernel"]
ONE_SHOT: Final = "one-shot"
TWO_KERNEL: Final = "two-kernel"

ONE_SHOT_RANKS: Final = 128
"""Up to this rank, unless fully sharded, shrink and expand run as one kernel, which reads block_m and nothing else
(contracts A6)."""

NAIVE_SHARE: Final = 8
"""Pairs of a token and an expert are not sorted if they are at most one in so many of experts x adapters (contracts
A6)."""

SMALL_BATCH_RANKS: Final = 64
"""Up to this rank the small-batch kernel may run, which reads no config (contracts A6)."""

SMALL_BATCH_SIZE: Final = 1024
"""It runs for up to so many pairs x rank (contracts A6)."""


def gpu_in_file(gpu_name: str) -> str:
    """Spells a GPU's name as file names do (contracts A1)."""
    return underscored(gpu_name)
