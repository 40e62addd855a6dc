"""Builds a model's modules with vLLM's own classes and wraps them with its own LoRA manager; in the child process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from autotune.model.fields import NAMES
from autotune.servers.vllm.from_server.answer import Job
from autotune.servers.vllm.from_server.fakes import fake_groups, make_kernels

# What is wrapped depends on none of them.
_MAX_LORAS = 1
_MAX_NUM_SEQS = 256
_MAX_NUM_BATCHED_TOKENS = 8192
_NOT_IN_FILES = {"tie_word_embeddings": False}
"""What configuration classes have and files leave out."""


def build(job: Job, folder: Path) -> Any:
    """Returns the server's LoRA manager of a model that has no weights.

    Args:
        folder: Empty; the config is written to it, for the server reads folders.
    """
    from vllm.config import set_current_vllm_config
    from vllm.lora.model_manager import create_lora_manager
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.utils.torch_utils import set_default_torch_dtype

    (folder / "config.json").write_text(json.dumps(job.config))
    _know_model_type(job.config)
    fake_groups(job.tp)
    server, meta = _server_config(job, folder), torch.device("meta")
    with set_current_vllm_config(server), set_default_torch_dtype(torch.bfloat16), meta:
        model = initialize_model(server)
        make_kernels(model)
        return create_lora_manager(
            model,
            _MAX_NUM_SEQS,
            _MAX_NUM_BATCHED_TOKENS,
            server.model_config.get_vocab_size(),
            server.lora_config,
            server,
            meta,
        )


def _server_config(job: Job, folder: Path) -> Any:
    """Returns the configuration of a server that was started as the job says."""
    from vllm.config import DeviceConfig, LoadConfig, LoRAConfig, ModelConfig, ParallelConfig, VllmConfig

    return VllmConfig(
        model_config=ModelConfig(
            model=str(folder), tokenizer=str(folder), skip_tokenizer_init=True, dtype="bfloat16", enforce_eager=True
        ),
        lora_config=LoRAConfig(
            max_lora_rank=job.rank,
            max_loras=_MAX_LORAS,
            max_cpu_loras=_MAX_LORAS,
            fully_sharded_loras=job.fully_sharded,
            target_modules=job.target_modules,
            **_switched_on(job),
        ),
        parallel_config=ParallelConfig(
            tensor_parallel_size=job.tp,
            enable_expert_parallel=job.expert_parallel,
            distributed_executor_backend="mp" if job.tp > 1 else None,
        ),
        load_config=LoadConfig(load_format="dummy"),
        device_config=DeviceConfig("cpu"),
    )


def _switched_on(job: Job) -> dict[str, bool]:
    """Returns the switches that the job sets: a release that lacks one refuses it, and refuses nothing else."""
    switches = {
        "enable_mixed_moe_lora_format": job.mixed_moe_format,
        "enable_moe_shared_loras": job.moe_shared_loras,
        "enable_tower_connector_lora": job.tower_connector,
    }
    return {name: True for name, is_on in switches.items() if is_on}


class _Part(dict[str, Any]):
    """A part of a config that has no model type: such classes make either an object or a mapping of it."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def _know_model_type(config: dict[str, Any]) -> None:
    """Registers a plain configuration class for a model whose own comes with its repository's code."""
    from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig
    from vllm.transformers_utils.config import _CONFIG_REGISTRY

    name = config.get("model_type")
    if name and name not in CONFIG_MAPPING and name not in _CONFIG_REGISTRY:
        AutoConfig.register(name, _remote_config(PretrainedConfig, CONFIG_MAPPING, name, config))


def _remote_config(base: type[Any], known: Mapping[str, type[Any]], name: str, config: dict[str, Any]) -> type[Any]:
    """Returns a configuration class that makes objects of the parts which have a model type, as such classes do."""
    spelled = {common: own for common, names in NAMES.items() for own in names if own in config and own not in NAMES}

    def init(self: Any, **fields: Any) -> None:
        parts = {part: _part(value, part, base, known) for part, value in fields.items()}
        base.__init__(self, **{**_NOT_IN_FILES, **parts})

    return type("RemoteConfig", (base,), {"model_type": name, "attribute_map": spelled, "__init__": init})


def _part(value: Any, name: str, base: type[Any], known: Mapping[str, type[Any]]) -> Any:
    """Returns a field as such a class has it: a part of a model type as an object of that type's class."""
    if isinstance(value, list):
        return [_part(each, name, base, known) for each in value]
    if not isinstance(value, dict):
        return value
    if model_type := value.get("model_type"):
        if model_type not in known:  # `get` of a mapping that loads its classes finds none
            return base(**{**_NOT_IN_FILES, **value})
        cls = known[model_type]
        inside: Any = getattr(cls, "sub_configs", {}).get(name)
        return inside(**value) if getattr(inside, "model_type", None) else cls(**value)
    return _Part({part: _part(each, part, base, known) for part, each in value.items()})
