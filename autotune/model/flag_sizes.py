"""Finds the values of flags that a base model and an adapter imply, so that nobody has to look them up."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from autotune.errors import InputError, one_of
from autotune.model import adapters, sources
from autotune.model.fields import NAMES, Fields, language_model

FIELDS = {
    "hidden_size": "hidden_size",
    "num_experts": "num_experts",
    "moe_intermediate_size": "moe_intermediate_size",
    "top_k_num": "num_experts_per_tok",
}
"""For each flag, our name of the config's field."""


def infer_sizes(model_path: Path | None, lora_path: Path | None, given: Collection[str] = ()) -> dict[str, int]:
    """Returns flag values that a model's and an adapter's folder imply.

    Args:
        given: Flags with a value of their own: nothing has to tell these.

    Raises:
        InputError: If a folder was given and does not hold what it is given for.
    """
    sizes: dict[str, int] = {}
    if model_path is not None:
        sizes |= _model_sizes(model_path, given)
    if lora_path is not None:
        adapters.make_sure_of(lora_path)
        if "lora_rank" not in given:
            sizes["lora_rank"] = adapters.rank(lora_path)
    return sizes


def _model_sizes(path: Path, given: Collection[str]) -> dict[str, int]:
    source = sources.local(path, "--model-path")
    options = {name: f"--{flag.replace('_', '-')}" for flag, name in FIELDS.items()}
    fields = Fields(f"--model-path: {source.origin}", language_model(source.config), options)
    if "hidden_size" not in given and not fields.get("hidden_size"):
        raise InputError(f"{fields.origin} has no hidden size ({one_of(NAMES['hidden_size'])}); give --hidden-size")
    wanted = FIELDS if fields.expert_count else ("hidden_size",)
    found = {flag: fields.get(FIELDS[flag]) for flag in wanted if flag not in given}
    return {flag: size for flag, size in found.items() if size is not None}
