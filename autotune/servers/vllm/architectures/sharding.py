"""Finds the layer that LoRA makes of a module on one worker: its slices, and its share of the widths."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.errors import InputError
from autotune.model.layers import Layer
from autotune.servers.serving import Serving
from autotune.servers.vllm.architectures.decoders import Module
from autotune.servers.vllm.architectures.sizes import LayerSizes
from autotune.servers.vllm.facts import MAX_LM_HEAD_COLUMNS

_PAIR = 2
_QKV = 3


def lora_layer(
    module: Module, part: str, sizes: LayerSizes, packed: Sequence[str], serving: Serving, origin: str
) -> Layer | None:
    """Returns the layer; None where none of the server's LoRA layers replaces the module.

    Args:
        packed: The adapter's modules that are merged into it, by its class.

    Raises:
        InputError: If it cannot be sharded so, or the server refuses LoRA on it.
    """
    inputs, tp = sizes(module.inputs), 1 if module.whole else serving.tp
    match module.kind:
        case "qkv":
            return _qkv(module, part, sizes, len(packed), tp)
        case "merged":
            widths = _slices(tuple(map(sizes, module.outputs)), len(packed), serving.fully_sharded)
            shares = tuple(_share(width, tp, module.name) for width in widths)
            if not shares:
                return None
            return Layer(module.name, "replicated" if module.whole else "column", inputs, shares, 1, part)
        case "column":
            return Layer(module.name, "column", inputs, (_share(sizes(module.outputs[0]), tp, module.name),), 1, part)
        case "row":
            columns = sizes(module.outputs[0])
            if serving.fully_sharded:
                _share(columns, tp, f"{module.name}'s outputs")
            return Layer(module.name, "row", _share(inputs, tp, module.name), (columns,), 1, part)
        case "embedding":
            return Layer(module.name, "embed", 0, (sizes(module.outputs[0]),), 1, part)
        case "head":
            return _head(module, sizes(module.outputs[0]), inputs, origin)
        case "other":
            return None
    return Layer(module.name, "replicated", inputs, (sizes(module.outputs[0]),), 1, part)


def check_shares(module: Module, sizes: LayerSizes, tp: int) -> None:
    """Makes sure that a module can be shared out, whether LoRA is on it or not.

    Raises:
        InputError: If it cannot.
    """
    if module.whole:
        return
    match module.kind:
        case "qkv":
            _qkv(module, "", sizes, _QKV, tp)
        case "merged" | "column":
            for width in map(sizes, module.outputs):
                _share(width, tp, module.name)
        case "row":
            _share(sizes(module.inputs), tp, module.name)


def _qkv(module: Module, part: str, sizes: LayerSizes, packed: int, tp: int) -> Layer | None:
    heads, kv_heads, head_dim = map(sizes, module.outputs)
    if not kv_heads:
        raise InputError(f"num_key_value_heads: got 0 for {heads} heads; correct the config")
    if kv_heads >= tp:
        kv = _share(kv_heads, tp, "num_key_value_heads") * head_dim
    elif tp % kv_heads:
        raise InputError(
            f"--tp: got {tp}, which is no multiple of num_key_value_heads {kv_heads}, so they cannot be replicated "
            "evenly; give another one"
        )
    else:
        kv = head_dim
    q = _share(heads, tp, "num_attention_heads") * head_dim
    if (mine := heads // tp) % (shared := max(1, kv_heads // tp)):
        raise InputError(
            f"num_attention_heads {heads}: no multiple of num_key_value_heads {kv_heads} (vLLM: num_heads ({mine}) is "
            f"not divisible by num_kv_heads ({shared})); correct the config"
        )
    # A class may list more than all of its models merge into it.
    widths = {1: (q + 2 * kv,), _QKV: (q, kv, kv)}.get(min(packed, _QKV))
    return Layer(module.name, "column", sizes(module.inputs), widths, 1, part) if widths else None


def _slices(widths: tuple[int, ...], packed: int, sharded: bool) -> tuple[int, ...]:
    """Returns the widths of the LoRA slices of a merged layer; none where no LoRA layer replaces it (contracts A9)."""
    if packed == 1 and len(widths) <= _PAIR:
        return (sum(widths),)
    if packed == _PAIR:
        return widths
    if len(widths) > _PAIR or packed > _PAIR:
        return () if sharded else widths
    return ()


def _head(module: Module, columns: int, inputs: int, origin: str) -> Layer:
    if columns > MAX_LM_HEAD_COLUMNS:
        raise InputError(
            f"{origin}: vocab_size: got {columns}, allowed: up to {MAX_LM_HEAD_COLUMNS} (vLLM: when using LoRA, vocab "
            f"size must be <= {MAX_LM_HEAD_COLUMNS}), since {module.name} is wrapped; leave it out with "
            "--target-modules (and the server's --lora-target-modules)"
        )
    return Layer(module.name, "lm_head", inputs, (columns,), 1)


def _share(size: int, tp: int, name: str) -> int:
    if size % tp:
        raise InputError(f"--tp: got {tp}, which does not divide {name} {size}; give another one")
    return size // tp
