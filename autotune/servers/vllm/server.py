"""Makes vLLM one object, as the tool sees it, from the modules beside it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.contract import Call, Config, Gpu, Value
from autotune.errors import InputError, one_of
from autotune.servers.engine import Engine
from autotune.servers.files import KeyPath, ReadJson, Table, read_json
from autotune.servers.lookup import Failure, Lookup
from autotune.servers.plugin.state import PluginState
from autotune.servers.protocol import FileFamily, Server
from autotune.servers.vllm import aligned, dense, facts, folder_warnings, linear, moe, own_file
from autotune.servers.vllm.base_moe import BaseExperts, no_folder_config
from autotune.servers.vllm.checking import VllmChecker
from autotune.servers.vllm.command_line import COMMAND_LINE
from autotune.servers.vllm.engine import VllmEngine
from autotune.servers.vllm.moe_family import MOE_FAMILY
from autotune.servers.vllm.nested_lookup import descend
from autotune.servers.vllm.planning import VllmPlanner
from autotune.servers.vllm.plugin import state
from autotune.servers.vllm.reverse_lookup import VllmReverseLookup


class Vllm(Server):
    """vLLM: two dense ops, the three that only our plug-in has, and four of fused MoE LoRA whose files must agree."""

    name = facts.NAME
    planner = VllmPlanner()
    command_line = COMMAND_LINE
    checker = VllmChecker()
    reverse_lookup = VllmReverseLookup()
    plugin_kernels = (*state.OPS["dense"], state.PAIR, *(ours.kernel for ours in aligned.OURS.values()))

    def levels(self, call: Call) -> tuple[str, ...]:
        _check(call)
        return _levels(call.op)

    def default_config(self, call: Call) -> dict[str, Value]:
        _check(call)
        if call.op == facts.LINEAR:
            return dict(linear.APART)
        if call.op in facts.ALIGNED_OPS:
            return aligned.default_config(call.op, call.dims)
        return moe.default_config(call.op, call.dims) if call.op in facts.MOE_OPS else dense.default_config(call)

    def file_name(self, gpu_name: str, call: Call) -> str:
        _check(call)
        gpu = facts.gpu_in_file(gpu_name)
        if own := own_file.BY_OP.get(call.op):
            return own.name(gpu)
        return moe.file_name(gpu, call.op) if call.op in facts.MOE_OPS else dense.file_name(gpu, call)

    def alias_paths(self, call: Call) -> list[KeyPath]:
        return dense.alias_paths(self.key_path(call)) if call.op in facts.DENSE_REQUIRED else []

    def entry(self, config: Config, call: Call) -> dict[str, Value]:
        _check(call)
        if own := own_file.BY_OP.get(call.op):
            return own.entry(config)
        return moe.entry(config, call.op) if call.op in facts.MOE_OPS else dense.entry(config, call.op)

    def needed_paths(self, paths: Collection[KeyPath]) -> set[KeyPath]:
        return dense.needed_paths(paths)

    def family(self, op: str) -> FileFamily | None:
        return MOE_FAMILY if op in facts.MOE_OPS else None

    def thinnable_level(self, call: Call) -> str | None:
        """Returns the m of a dense op. Those of fused MoE LoRA stay: its files need one set of m, with one block_m
        each; and so do those of shrink and expand as a pair, for beyond its largest m a file says nothing."""
        return "m" if call.op in facts.DENSE_REQUIRED else None

    def resolve(self, table: Any, call: Call, by_plug_in: bool = False) -> Lookup:
        _check(call)
        if not table:
            return Lookup("default", self.default_config(call))
        if call.op == facts.LINEAR:
            return linear.resolve(table, call.dims)
        if call.op in facts.ALIGNED_OPS:
            return aligned.resolve(table, call)
        node, steps, failure = descend(table, _levels(call.op), call.dims)
        if call.op in facts.MOE_OPS:
            if failure:
                return Lookup("file", None, steps, moe.level_failure(failure))
            config, failure, found = moe.launched(node, call.op)
            return Lookup("file", config, steps, failure, warnings=found)
        failure = failure or dense.config_failure(node, call.op)
        return Lookup("file", None if failure else dict(node), steps, failure)

    def lookup(
        self, folder: Path, gpu_name: str, call: Call, read: ReadJson = read_json, by_plug_in: bool = False
    ) -> Lookup:
        path = folder / self.file_name(gpu_name, call)
        try:
            table = read(path) if path.exists() else None
        except InputError as error:
            cause = type(error.__cause__).__name__
            return Lookup("file", None, (), Failure(cause, "file", None, str(error)), path)
        return replace(self.resolve(table, call), path=path)

    def engine(self) -> Engine:
        return VllmEngine()

    def replaces(self, call: Call) -> list[Call]:
        if call.op in facts.ALIGNED_OPS:
            return aligned.replaced(call)
        return linear.replaced(call) if call.op == facts.LINEAR else []

    def started_config(self, call: Call, flags: Mapping[str, Any], gpu: Gpu) -> Config:
        folder = os.environ.get(facts.CONFIG_FOLDER)
        if folder and (found := self.lookup(Path(folder), gpu.name, call).config) is not None:
            return found
        if call.op not in facts.MOE_OPS:
            return self.default_config(call)
        experts = BaseExperts(call.dims["m"], flags["num_experts"], flags["base_intermediate_size"])
        return no_folder_config(call.op, experts, call.dims["k"], gpu)

    def following_flags(self, call: Call, theirs: Config) -> dict[str, Any] | None:
        """Returns the block_m that the experts' rows are aligned to."""
        if call.op not in facts.ALIGNED_OPS:
            return {}
        return {"block_m": theirs["block_m"]} if theirs["block_m"] in facts.ALIGNED_BLOCK_MS else None

    def plugin_state(self) -> PluginState:
        return state.current()

    def warnings(
        self, directory: Path, tables: Mapping[str, Table], looked_up: Mapping[str, Collection[KeyPath]]
    ) -> list[str]:
        return folder_warnings.warnings(directory, tables, looked_up)


VLLM = Vllm()


def _levels(op: str) -> tuple[str, ...]:
    if own := own_file.BY_OP.get(op):
        return own.levels
    return facts.MOE_LEVELS if op in facts.MOE_OPS else facts.DENSE_LEVELS


def _check(call: Call) -> None:
    if call.op not in (known := (*facts.DENSE_REQUIRED, *own_file.BY_OP, *facts.MOE_OPS)):
        raise InputError(f"vllm: got op {call.op!r}, allowed: {one_of(known)}")
    needed = _levels(call.op) + (("add_inputs",) if call.op == "expand" else ())
    if missing := [dim for dim in needed if dim not in call.dims]:
        raise InputError(f"vllm {call.op}: the call lacks {one_of(missing)}; needed: {one_of(needed)}")
