"""Makes folders of vLLM's files that are sound for a plan, to put a defect into, and checks them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autotune.config.check import check_folder
from autotune.model.shape import load
from autotune.plan.plan import Plan, make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from tests.builders.samples import VLLM_ENTRY

EXPERTS = {"block_m": 32, "block_n": 32, "block_k": 64, "split_k": 1, "num_warps": 4, "num_stages": 2}
EXPERTS |= {"group_size_m": 8}
SHRINK, EXPAND = "NVIDIA_H200_SHRINK.json", "NVIDIA_H200_EXPAND_TRUE.json"
MOE = [f"NVIDIA_H200_FUSED_MOE_LORA_{weight}_{op}.json" for weight in ("W13", "W2") for op in ("SHRINK", "EXPAND")]
SERVING: dict[str, Any] = {"server": "vllm", "tp": 1, "rank": 16, "max_loras": 4}
M_VALUES = ("16", "64", "1024")
Files = dict[str, Any]


def plan(name: str = "Qwen3-8B", **how: Any) -> Plan:
    batches = Batches(m_values=tuple(map(int, M_VALUES)))
    return make(load(name), Serving(**SERVING | how), batches)


def sound(made: Plan) -> Files:
    """Files with every entry that a plan looks up."""
    files: Files = {}
    for shape in made.shapes:
        d = shape.dims
        op = shape.op.upper() + {0: "_FALSE", 1: "_TRUE"}.get(d.get("add_inputs", 2), "")
        levels = [str(d["max_loras"]), str(d["num_slices"])]
        tail = [str(d[name]) for name in ("k", "n", "i") if name in d]
        for m in M_VALUES:
            node = files.setdefault(f"NVIDIA_H200_{op}.json", {})
            for key in [*levels, m, *tail[:-1]]:
                node = node.setdefault(key, {})
            node[tail[-1]] = dict(EXPERTS if "i" in d else VLLM_ENTRY)
    return {name: ascending(content) for name, content in files.items()}


def ascending(node: Any) -> Any:
    if not isinstance(node, dict) or not all(key.isdecimal() for key in node):
        return node
    return {key: ascending(node[key]) for key in sorted(node, key=int)}


def write(files: Files) -> Path:
    folder = Path("tuned")
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def found(files: Files, made: Plan | None = None) -> list[tuple[str, str, str, str]]:
    findings, _ = check_folder(write(files), "vllm", made)
    assert all(finding.message for finding in findings)
    return [(f.file, "/".join(f.key), f.defect, f.effect) for f in findings]


def at(files: Files, file: str, *keys: str) -> Any:
    node = files[file]
    for key in keys:
        node = node[key]
    return node
