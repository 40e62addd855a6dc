"""Holds what the tool relies on of SGLang 0.5.23: each name, list and threshold, once, with its source in the
contracts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

NAME: Final = "sglang"

CONFIG_FOLDER: Final = "SGLANG_LORA_CONFIG_DIR"
"""Environment variable that names the folder above `ROOT` (contracts B1)."""

SPLIT_K_SWITCH: Final = "SGLANG_ENABLE_LORA_CSGMV_SPLIT_K"
"""Environment variable that lets a server split K in some shrinks (contracts B3)."""

DETERMINISTIC: Final = "SGLANG_ENABLE_DETERMINISTIC_INFERENCE"
"""Environment variable of a server whose sums are not to depend on the batch (contracts B3)."""

NO_INDEXER_FUSION: Final = "SGLANG_DISABLE_DSA_INDEXER_FUSION"
"""Environment variable that keeps the projections of an indexer apart (contracts B4)."""

# Ops and their files.

ROOT: Final = "csgmv_configs"
"""The folder of all versions' files (contracts B1)."""

LEVELS: Final = ("chunk_size",)
"""Levels of a file (contracts B1)."""

FILE_DIMS: Final = ("K", "R", "S")
"""The sizes in a file's name (contracts B1)."""

DIMS: Final = (*FILE_DIMS, *LEVELS)
"""All sizes of a call (contracts B1)."""

SIZES_IN_FILE: Final = re.compile(r"lora_(?P<op>shrink|expand),K=(?P<K>\d+),R=(?P<R>\d+),S=(?P<S>\d+),")
"""How a file's name begins, whatever its GPU (contracts B1)."""

FILE: Final = re.compile(SIZES_IN_FILE.pattern + r"device=(?P<device>(?!\S*_tuned_\d+\.json)\S+)\.json")
"""Names that a server reads (contracts B1); not those of files that an export writes beside one
(``..._tuned_1.json``)."""

VERSION_FOLDER: Final = re.compile(r"triton_\d+(_[\w+]+)*")
"""Names of folders that a server with some Triton version writes and reads (contracts B1)."""

# Entries.

DEFAULTS: Final[Mapping[str, Mapping[str, int]]] = {
    "shrink": {"BLOCK_N": 16, "BLOCK_K": 256},
    "expand": {"BLOCK_N": 64, "BLOCK_K": 16},
}
"""By op, what a server launches with when no file says otherwise; warps and stages are left to Triton (contracts
B1)."""

TRITON_DEFAULTS: Final[Mapping[str, int]] = {"num_warps": 4, "num_stages": 3}
"""What Triton takes on NVIDIA GPUs where a config leaves it the choice (contracts B1)."""

REQUIRED: Final = ("BLOCK_N", "BLOCK_K")
"""Keys that every entry needs (contracts B1)."""

OPTIONAL: Final[Mapping[str, tuple[str, ...]]] = {
    "shrink": ("num_warps", "num_stages"),
    "expand": ("num_warps", "num_stages", "maxnreg"),
}
"""By op, further keys that it reads (contracts B1)."""

# Adapters.

ADAPTER_REQUIRED: Final = ("r", "lora_alpha", "target_modules", "peft_type")
"""Fields that an adapter's config must have (contracts B6)."""

EMBEDDINGS: Final = ("embed_tokens", "lm_head")
"""What is wrapped only where it is named (contracts B4)."""

WITHOUT_EMBEDDINGS: Final = (
    "Gemma3nForConditionalGeneration",
    "Gemma4ForConditionalGeneration",
    "Llama4ForConditionalGeneration",
)
"""Architectures whose classes have sizes for the projections alone (contracts B4)."""

ALL: Final = "all"
"""What the flag of target modules takes for every module, embeddings too (contracts B6)."""

ALL_LINEAR: Final = ("all", "all-linear")
"""What an adapter may have in place of a list: every module that the model has (contracts B6)."""

SHARED_EXPERTS: Final = ("shared_expert_intermediate_size", "n_shared_experts")
"""Fields by which the server's pool knows that a model with experts has MLPs besides (contracts B4)."""

ATTENTION_KINDS: Final = ("attention", "full_attention", "sliding_attention")
"""What configs call layers that have attention (contracts B4)."""

MLP: Final = ("gate_up_proj", "down_proj")
"""The layers of an MLP (contracts B4)."""

WRAPPED_AS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj", "qkv_proj"), "qkv_proj"),
    "o_proj": "o_proj",
    **dict.fromkeys(("gate_proj", "up_proj", "gate_up_proj"), "gate_up_proj"),
    "down_proj": "down_proj",
    **dict.fromkeys(("embed_tokens", "vocab_emb", "embeddings", "word_embeddings"), "embed_tokens"),
    **dict.fromkeys(("lm_head", "output", "unembed_tokens"), "lm_head"),
    **dict.fromkeys(("q_a_proj", "kv_a_proj_with_mqa", "fused_qkv_a_proj_with_mqa"), "fused_qkv_a_proj_with_mqa"),
    "q_b_proj": "q_b_proj",
    "kv_b_proj": "kv_b_proj",
    "wq_b": "indexer.wq_b",
    "wk": "indexer.wk",
    "weights_proj": "indexer.weights_proj",
}
"""For each module that an adapter may name, the layer that is wrapped for it (contracts B6)."""

SERVE_TARGETS: Final = frozenset(
    """
    down_proj embed_tokens gate_proj gate_up_proj k_proj kv_a_proj_with_mqa kv_b_proj lm_head o_proj q_a_proj
    q_b_proj q_proj qkv_proj qkvr up_proj v_proj weights_proj wk wo_ud wq_b
    """.split()
)
"""What ``--lora-target-modules`` of the server takes beside ``all`` (contracts B7); adapters may name more."""

# Chunk sizes.

CHUNK_SIZES: Final = (16, 32, 64, 128)
"""Allowed values of ``--max-lora-chunk-size`` (contracts B2)."""

DEFAULT_MAX_CHUNK: Final = 16
"""The default of ``--max-lora-chunk-size`` (contracts B2)."""

CHUNK_STEPS: Final = ((0, 16), (64, 32), (256, 128))
"""From how many tokens on a batch is cut into chunks of which size, as far as the flag allows it (contracts B2)."""

# How a server is started.

BACKEND: Final = "csgmv"
"""The value of ``--lora-backend`` whose kernels read the files, and its default (contracts B7)."""

SERVE_SWITCHES: Final = frozenset({"--enable-lora", "--trust-remote-code", "--disable-radix-cache"})
"""Frequent flags of ``sglang.launch_server`` that take no value (contracts B7)."""

DEFAULT_MAX_LORAS: Final = 8
"""The default of ``--max-loras-per-batch`` (contracts B7)."""

# Splitting K.

SPLIT_K_CHUNK: Final = 16
"""A server that is told to may split K in some shrinks at this chunk size, with the default blocks (contracts B3)."""

SPLIT_K_RANK: Final = 32
SPLIT_K_COLUMNS: Final = (4096, 12288)
"""The rank and the K of those shrinks (contracts B3)."""


def keys(op: str) -> tuple[str, ...]:
    """Lists all keys that the op reads, in the order of an entry."""
    return (*REQUIRED, *OPTIONAL[op])


def gpu_in_file(gpu_name: str) -> str:
    """Spells a GPU's name as file names do (contracts B1)."""
    return gpu_name.replace(" ", "_")


def version_of(folder: str) -> str | None:
    """Returns the Triton version whose files a folder of this name holds; None if it is no such folder."""
    return folder.removeprefix("triton_").replace("_", ".") if folder.startswith("triton_") else None


def version_folder(triton: str) -> str:
    """Names the folder of a Triton version's files (contracts B1)."""
    return f"triton_{triton.replace('.', '_')}"
