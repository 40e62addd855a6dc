"""The flags that describe one lookup of a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autotune.cli.options import Size, flags
from autotune.contract import Call
from autotune.environment import installed_version
from autotune.errors import InputError, one_of
from autotune.servers.sglang import facts as sglang
from autotune.servers.vllm import facts as vllm

_DENSE = ("shrink", "expand")
_EXPERTS = tuple(f"fused_moe_lora_{weight}_{op}" for weight in ("w13", "w2") for op in _DENSE)

call_options = flags(
    click.option("--runtime", type=click.Choice(["vllm", "sglang"]), required=True, help="The server."),
    click.option("--op", type=click.Choice([*_DENSE, *_EXPERTS]), required=True, help="Its op."),
    click.option("--max-loras", type=Size(), help="vLLM: the server's --max-loras (dense ops look up one more)."),
    click.option("--num-slices", type=Size(), help="3 for qkv, 2 for gate_up, 1 otherwise (SGLang: S)."),
    click.option("--m", type=Size(), help="vLLM: rows of the batch."),
    click.option("--k", type=Size(), help="k of the lookup (SGLang: K)."),
    click.option("--n", type=Size(), help="vLLM: n of the lookup."),
    click.option("--intermediate", type=Size(), help="vLLM's fused MoE ops: i of the lookup."),
    click.option("--expand-add-inputs", type=click.Choice(["0", "1"]), help="vLLM: 0 for EXPAND_FALSE.  [default: 1]"),
    click.option("--lora-rank", type=Size(), help="SGLang: R, the pool's rank."),
    click.option("--chunk-size", type=Size(), help="SGLang: chunk size of the batch."),
    click.option("--triton", metavar="VERSION", help="SGLang: the server's Triton.  [default: the installed one]"),
    click.option("--gpu", metavar="NAME", help="The server's GPU.  [default: the one whose files are there]"),
)
# For each dim of a call, its flag.
_FLAGS = {
    "num_slices": "--num-slices",
    "S": "--num-slices",
    "max_loras": "--max-loras",
    "m": "--m",
    "k": "--k",
    "K": "--k",
    "n": "--n",
    "i": "--intermediate",
    "R": "--lora-rank",
    "chunk_size": "--chunk-size",
}


# Flags that only the other server's lookups have.
_NOT_OF = {
    "vllm": ("lora_rank", "chunk_size", "triton"),
    "sglang": ("max_loras", "m", "n", "intermediate", "expand_add_inputs"),
}


def take_call(options: dict[str, Any]) -> Call:
    """The call that the flags describe.

    Raises:
        InputError: If a flag is missing, or is not this server's.
    """
    op, server = options["op"], options["runtime"]
    if other := [name for name in _NOT_OF[server] if options[name] is not None]:
        flag = f"--{other[0].replace('_', '-')}"
        raise InputError(f"{flag}: no lookup of --runtime {server} has it; leave one of the two out")
    if server == "sglang":
        if op in _EXPERTS:
            raise InputError(f"--op: got {op}, which SGLang reads no file for; allowed: {one_of(_DENSE)}")
        dims = {
            "K": options["k"],
            "R": options["lora_rank"],
            "S": options["num_slices"],
            "chunk_size": options["chunk_size"],
        }
        # The name of a version's folder will do.
        triton = (options["triton"] or "").removeprefix("triton_").replace("_", ".")
        return Call(server, op, _complete(dims), triton or installed_version("triton"))
    dims = {name: options[name] for name in ("max_loras", "num_slices", "m", "k", "n")}
    if op in _EXPERTS:
        dims["i"] = options["intermediate"]
        return Call(server, op, _complete(dims))
    complete = _complete(dims)
    complete["max_loras"] += 1
    if op == "expand":
        complete["add_inputs"] = int(options["expand_add_inputs"] or 1)
    return Call(server, op, complete)


def gpu_in(directory: Path, server: str) -> str:
    """The GPU whose files a folder holds, as their names spell it.

    Raises:
        InputError: If there is none, or there are several.
    """
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder; give the server's config folder")
    if server == "vllm":
        matches = [vllm.FILE.fullmatch(path.name) for path in sorted(directory.glob("*.json"))]
        names = {match["gpu"] for match in matches if match}
    else:
        matches = [sglang.FILE.fullmatch(path.name) for path in sorted(directory.rglob("*.json"))]
        names = {match["device"] for match in matches if match}
    if len(names) != 1:
        raise InputError(f"--gpu: not given, and {directory} has files of: {one_of(sorted(names)) or 'none'}; name one")
    return names.pop()


def _complete(dims: dict[str, Any]) -> dict[str, int]:
    if missing := [_FLAGS[name] for name, value in dims.items() if value is None]:
        raise InputError(f"{missing[0]}: not given; this lookup needs {one_of(_FLAGS[name] for name in dims)}")
    return {name: int(value) for name, value in dims.items()}
