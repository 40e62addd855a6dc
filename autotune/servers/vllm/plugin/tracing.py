"""Records vLLM's lookups: shapes where an op is called, by torch's dispatcher, and batches where adapters are chosen.

A CUDA graph that is replayed calls no op, and the metadata of LoRA stay as they are while a batch has the same requests
(contracts A16). So batches are counted where the model runner says which adapters the next one uses.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from autotune.servers.plugin import capture, groups
from autotune.servers.plugin import tracer as tracers
from autotune.servers.plugin.notices import one_line, warn_once
from autotune.servers.plugin.tracer import Tracer
from autotune.servers.trace_line import VARIABLE, Rows
from autotune.servers.vllm import facts
from autotune.servers.vllm.plugin.override import is_overridden, override
from autotune.servers.vllm.plugin.state import PAIR
from autotune.servers.vllm.plugin.traced_calls import TracedCall, of_dense, of_experts, of_pair
from autotune.servers.vllm.served_modules import OPS_PACKAGE

_CALLS: Final[dict[str, Callable[[Sequence[Any]], list[TracedCall]]]] = {
    "lora_shrink": of_dense,
    "lora_expand": of_dense,
    facts.MOE_GROUP: of_experts,
    PAIR: of_pair,
}
"""By op, what its arguments look up."""

_RUNNERS: Final = "vllm.v1.worker.lora_model_runner_mixin"
"""The module of `LoRAModelRunnerMixin`, which every model runner is (contracts A16)."""

_GROUPS: Final = "vllm.distributed.parallel_state"
"""The module of the groups of processes (contracts A16)."""

_WARM_UP: Final = "warmup_"
"""How the names of adapters begin that the server makes up for its own warm-ups (contracts A16)."""

_LANGUAGE: Final = "LANGUAGE"
"""The name of the mapping type of batches that are no tower's (contracts A16)."""

_prompts: Final[set[int]] = set()
"""Where the metadata of sampled rows lie."""


def traced(op: str, function: Callable[..., None]) -> Callable[..., None]:
    """Returns what an op runs so that its lookups are recorded; the function itself where nothing is recorded."""
    if (tracer := tracers.of(facts.NAME)) is None:
        return function
    note = tracer.quietly(functools.partial(_note, tracer, _CALLS[op]))

    def noted(*arguments: Any) -> None:
        note(arguments)
        function(*arguments)

    return noted


def install() -> None:
    """Records what this process looks up, if that is wanted; again does nothing."""
    if (tracer := tracers.of(facts.NAME)) is None:
        return
    for op in _CALLS:
        if op != PAIR and not is_overridden(op):
            _override(op)
    platform: Any = type(importlib.import_module("vllm.platforms").current_platform)
    if not getattr(platform.get_punica_wrapper, VARIABLE, False):
        platform.get_punica_wrapper = _hooking(tracer, platform.get_punica_wrapper)


def _override(op: str) -> None:
    """Has the server's own function recorded; an op that a release does not have is told and left out."""
    try:
        own = getattr(importlib.import_module(f"{OPS_PACKAGE}.{op}_op"), f"_{op}")
        override(facts.NAME, op, traced(op, own))
    except (AttributeError, ImportError, RuntimeError) as error:
        warn_once(f"{VARIABLE}: calls of {op} are not recorded: {one_line(error)}")


def _hooking(tracer: Tracer, own: Callable[[], str]) -> Any:
    """Returns a class method that does what the server's does when it makes its wrapper of LoRA kernels, and hooks that
    wrapper and the model runners, which are loaded by then and not before."""

    def get_punica_wrapper(cls: Any) -> str:
        name = own()
        try:
            _hook(tracer, name)
        except (AttributeError, ImportError) as error:
            warn_once(f"{VARIABLE}: lookups are recorded, but no batches: {one_line(error)}")
        return name

    setattr(get_punica_wrapper, VARIABLE, True)
    return classmethod(get_punica_wrapper)


def _hook(tracer: Tracer, wrapper: str) -> None:
    module, _, name = wrapper.rpartition(".")
    _follow(getattr(importlib.import_module(module), name), "update_metadata", tracer.quietly(_learn))
    runners = importlib.import_module(_RUNNERS).LoRAModelRunnerMixin
    _follow(runners, "_set_active_loras", tracer.quietly(functools.partial(_count, tracer)))


def _follow(owner: type[Any], method: str, then: Callable[..., None]) -> None:
    """Has something done after each call of a method, with its arguments; once."""
    own = getattr(owner, method)
    if getattr(own, VARIABLE, False):
        return

    @functools.wraps(own)
    def followed(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = own(self, *args, **kwargs)
        then(self, *args, **kwargs)
        return result

    setattr(followed, VARIABLE, True)
    setattr(owner, method, followed)


def _learn(wrapper: Any, *_: Any, **__: Any) -> None:
    """Learns where the metadata of sampled rows lie."""
    if (meta := getattr(wrapper, "prompt_mapping_meta", None)) is not None:
        _prompts.add(meta.meta_args(1, False)[0].data_ptr())


def _count(
    tracer: Tracer,
    _: Any,
    prompt_lora_mapping: Sequence[int],
    token_lora_mapping: Sequence[int],
    lora_requests: Any,
    mapping_type: Any = None,
) -> None:
    """Counts a batch of the language model that uses adapters, unless the server made it up."""
    names = [str(getattr(adapter, "lora_name", "")) for adapter in lora_requests]
    of_tower = getattr(mapping_type, "name", _LANGUAGE) != _LANGUAGE
    if names and not of_tower and not any(name.startswith(_WARM_UP) for name in names):
        tracer.batch("samples", len(prompt_lora_mapping))
        tracer.batch("tokens", len(token_lora_mapping))


def _gpus(op: str) -> tuple[tuple[str, int], ...]:
    """Returns over how many GPUs a layer is shared out, and whole experts would be."""
    spread = groups.size(_GROUPS, "get_ep_group") if op in facts.MOE_OPS else None
    return groups.details(tp=groups.size(_GROUPS, "get_tp_group"), expert_gpus=spread)


def _note(tracer: Tracer, read: Callable[[Sequence[Any]], list[TracedCall]], arguments: Sequence[Any]) -> None:
    for call in read(arguments):
        rows: Rows = "samples" if call.mapping.data_ptr() in _prompts else "tokens"
        is_captured = capture.is_on(call.mapping)
        seen = call.seen(tracer.server, tracer.release, rows, _gpus(call.op))
        tracer.lookup(seen, call.m, call.weights.data_ptr(), is_captured)
