"""Tells what vLLM refuses of a model and its flags, whatever its layers are (contracts A9)."""

from __future__ import annotations

import os
from collections.abc import Mapping

from autotune.errors import InputError
from autotune.model.fields import Fields
from autotune.model.shape import ModelShape
from autotune.servers.serving import Serving
from autotune.servers.vllm.architectures.config_classes import defaults_of
from autotune.servers.vllm.architectures.decoders import table
from autotune.servers.vllm.architectures.language_model import LanguageModel
from autotune.servers.vllm.architectures.sizes import LayerSizes
from autotune.servers.vllm.architectures.towers import check_towers

_ROPES = ("rope_parameters", "rope_scaling")
_BACKEND = "Transformers"
_USUAL_SHARES = (1.0, 0.5, 0.25)
"""Shares of a head that models rotate whose class is not known."""


def check_model(model: ModelShape, found: LanguageModel, fields: Fields, serving: Serving) -> None:
    """Makes sure that the server takes the model and shares it out so, whatever its layers are.

    Raises:
        InputError: If it cannot.
    """
    heads, tp = fields.get("num_attention_heads"), serving.tp
    if heads and heads % tp:
        raise InputError(
            f"--tp: got {tp}, which does not divide {model.name}'s num_attention_heads {heads} (vLLM: total number of "
            f"attention heads ({heads}) must be divisible by tensor parallel size ({tp})); give another one"
        )
    if serving.target_modules is not None and found.architecture in table().no_targets:
        raise InputError(
            f"--target-modules: vLLM stops with --lora-target-modules on {found.architecture}, whose classification "
            "head is of no class that LoRA is for (vLLM: AttributeError, no attribute 'input_size'); leave it out"
        )
    if serving.expert_parallel and not fields.get("num_experts"):
        raise InputError(f"--ep: {model.name} has no experts, and vLLM refuses --enable-expert-parallel; leave it out")
    for name, architectures in table().needed_fields.items():
        if found.architecture in architectures and model.config.get(name) is None:
            raise InputError(
                f"{model.origin}: lacks {name}, without which vLLM refuses {found.architecture}; add it to the config"
            )
    _check_rotary(found, fields)
    _check_padding(found, fields)
    _check_environment(found, model.origin)
    check_towers(model.config, found.architecture, serving.tp, model.name)


def check_experts(found: LanguageModel, fields: Fields, serving: Serving, sparse: bool) -> None:
    """Makes sure that there are as many experts as the class needs.

    Args:
        sparse: A layer has experts.

    Raises:
        InputError: If there are not.
    """
    known, count, tp = table(), fields.get("num_experts") or 0, serving.tp
    if not sparse and found.inner.name in known.needs_experts:
        raise InputError(
            f"{fields.origin}: no layer has experts, and vLLM's class {found.inner.name} stops without any (vLLM: no "
            "MoE layer found in model.layers); give the model's whole config.json"
        )
    if sparse and 0 < count < tp and {found.inner.name, found.architecture} & known.needs_an_expert_a_gpu:
        raise InputError(
            f"--tp: got {tp}, allowed for {found.architecture}: up to its number of experts {count} (vLLM: Tensor "
            f"parallel size {tp} is greater than the number of experts {count}); give another one"
        )


def _check_rotary(found: LanguageModel, fields: Fields) -> None:
    """Makes sure that a config's multimodal rotary sections come to half of what is rotated of a head.

    Raises:
        InputError: If they do not.
    """
    rope = next((each for name in _ROPES if isinstance(each := fields.config.get(name), Mapping)), {})
    section = rope.get("mrope_section")
    sizes = LayerSizes(found.decoder, fields, {}, None) if found.decoder else None
    head_dim = sizes("head_dim") if sizes and not sizes.lacking("head_dim") else 0
    if not isinstance(section, list) or not all(type(each) is int for each in section) or not head_dim:
        return
    share = rope.get("partial_rotary_factor", fields.config.get("partial_rotary_factor"))
    if share is None and (row := defaults_of(fields.config.get("model_type"))):
        share = row.get("rotary_share", 1.0)
    shares = [share] if isinstance(share, int | float) else _USUAL_SHARES
    if (total := sum(section)) not in [int(head_dim * each) // 2 for each in shares]:
        raise InputError(
            f"{fields.origin}: mrope_section {section}: comes to {total}, and heads of {head_dim} need "
            f"{int(head_dim * shares[0]) // 2} (vLLM: sum(mrope_section) == rotary_dim // 2); correct the config"
        )


def _check_padding(found: LanguageModel, fields: Fields) -> None:
    """Makes sure that the padding token is one of the vocabulary, which embeddings of Transformers' own ask for.

    Raises:
        InputError: If it is not.
    """
    padding, vocabulary = fields.config.get("pad_token_id"), fields.get("vocab_size")
    if found.model.name.startswith(_BACKEND) and type(padding) is int and vocabulary and padding >= vocabulary:
        raise InputError(
            f"{fields.origin}: pad_token_id {padding}: is none of the {vocabulary} of vocab_size (vLLM: Padding_idx "
            "must be within num_embeddings); correct the config"
        )


def _check_environment(found: LanguageModel, origin: str) -> None:
    """Makes sure that the environment, which is taken for the server's, lets it serve LoRA on this model.

    Raises:
        InputError: If it does not.
    """
    for name, value in (found.decoder.environment if found.decoder else {}).items():
        if os.environ.get(name) != value:
            raise InputError(
                f"{origin}: {found.architecture}: vLLM refuses LoRA on it unless {name}={value} is set for the server; "
                "set it for both"
            )
