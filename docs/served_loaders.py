"""Asks a server's own loader of config files for a call, in this process."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from autotune.contract import Call, Config
from autotune.servers.sglang.served_modules import CSGMV


def loaded(call: Call, folder: str | None) -> Config:
    """Returns what the call's server would launch it with.

    Args:
        folder: What the server's variable is set to; None for not at all.
    """
    variable, load = _LOADERS[call.server]
    with _environment(variable, folder):
        found: Config = load(call)
        return found


def _vllm(call: Call) -> Config:
    utils = importlib.import_module("vllm.lora.ops.triton_ops.utils")
    utils.load_lora_op_config.cache_clear()
    utils.get_lora_op_configs.cache_clear()
    d = call.dims
    if "i" in d:
        # The experts' ops: with no folder set the server does not ask here.
        sizes = (d["max_loras"], d["m"], d["n"], d["k"], d["num_slices"])
        experts: Config = utils.get_lora_op_configs(call.op, *sizes, None, d["i"])
        return experts
    shrink = "shrink" in call.op
    hidden, rank = (d["k"], d["n"]) if shrink else (d["n"], d["k"])
    add_inputs = None if shrink else bool(d["add_inputs"])
    found: Config = utils.get_lora_op_configs(
        "shrink" if shrink else "expand", d["max_loras"], d["m"], hidden, rank, d["num_slices"], add_inputs
    )
    return found


def _sglang(call: Call) -> Config:
    """Without a folder these are the package's own files, where it has one for the GPU and shape."""
    module = CSGMV.load("lora_tuning_config")
    module.get_lora_configs.cache_clear()
    d = call.dims
    find = getattr(module, f"get_lora_{call.op}_config")
    found: Config = find(K=d["K"], R=d["R"], num_slices=d["S"], chunk_size=d["chunk_size"])
    return found


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    yield
    os.environ.pop(name, None)
    if before is not None:
        os.environ[name] = before


_LOADERS: Mapping[str, tuple[str, Callable[[Call], Any]]] = {
    "vllm": ("VLLM_TUNED_CONFIG_FOLDER", _vllm),
    "sglang": ("SGLANG_LORA_CONFIG_DIR", _sglang),
}
