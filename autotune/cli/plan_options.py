"""The flags of a plan, which `plan`, `study create --plan`, `tune --model` and `config check --model` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from autotune import servers
from autotune.cli.options import AutoIntegers, Command, Size, flags, problem_options
from autotune.errors import InputError, one_of
from autotune.model import fields
from autotune.model import shape as model
from autotune.model.adapters import rank as adapter_rank
from autotune.model.adapters import target_modules
from autotune.model.modules import MODULE_NAMES
from autotune.plan import traffic
from autotune.plan.plan import DEFAULT_DTYPE, Plan, make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from autotune.servers.sglang.facts import CHUNK_SIZES, DEFAULT_MAX_CHUNK
from autotune.servers.vllm.facts import DEFAULT_MAX_NUM_BATCHED_TOKENS, DEFAULT_MAX_NUM_SEQS

server_options = flags(
    click.option("--runtime", type=click.Choice(["vllm", "sglang"]), help="The server of a plan."),
    click.option("--tp", type=Size(), default=1, show_default=True, help="The server's tensor-parallel size."),
    click.option("--max-loras", type=Size(), help="The server's --max-loras (SGLang: --max-loras-per-batch)."),
    click.option("--fully-sharded", is_flag=True, help="vLLM: --fully-sharded-loras."),
    click.option("--ep", is_flag=True, help="vLLM: --enable-expert-parallel."),
    click.option("--dual-stream", is_flag=True, help="vLLM: VLLM_LORA_ENABLE_DUAL_STREAM=1."),
    click.option(
        "--target-modules",
        metavar="NAMES",
        help="--lora-target-modules of the server, with commas between.  [default: all that it wraps]",
    ),
    click.option("--max-num-seqs", type=Size(), help=f"vLLM: its flag.  [default: {DEFAULT_MAX_NUM_SEQS}]"),
    click.option(
        "--max-num-batched-tokens", type=Size(), help=f"vLLM: its flag.  [default: {DEFAULT_MAX_NUM_BATCHED_TOKENS}]"
    ),
    click.option("--chunk-sizes", type=AutoIntegers(), help="SGLang: chunk sizes to tune, or auto.  [default: auto]"),
    click.option(
        "--max-lora-chunk-size",
        type=click.Choice([str(size) for size in CHUNK_SIZES]),
        help=f"SGLang: its flag.  [default: {DEFAULT_MAX_CHUNK}]",
    ),
    click.option(
        "--traffic", type=click.Path(path_type=Path), metavar="FILE", help="Token counts and weights, JSON or CSV."
    ),
    click.option(
        "--set", "overrides", multiple=True, metavar="FIELD=N", help="A field of the model's config; repeatable."
    ),
)
rank_option = click.option("--lora-rank", "--rank", type=Size(), help="The server's max_lora_rank.")
adapters_option = click.option(
    "--lora-path",
    "lora_paths",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of an adapter: gives the rank (and SGLang's modules); repeatable.",
)
m_values_option = click.option(
    "--m-values", type=AutoIntegers(), help="vLLM: token counts to tune, or auto.  [default: auto]"
)
workload_option = click.option("--workload", metavar="NAME", help="SGLang: prefill, decode or mixed.")
plan_options = flags(server_options, rank_option, adapters_option, m_values_option, workload_option)
"""All flags of a plan."""


def added(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Put those of the options on a command whose flags it does not have yet; those it has serve for both."""

    def decorate(command: Command) -> Command:
        there = {flag for parameter in getattr(command, "__click_params__", []) for flag in parameter.opts}
        parameters = [parameter for option in options for parameter in parameters_of(option)]
        for parameter in reversed(parameters):
            if not there & set(parameter.opts):
                command.__click_params__.append(parameter)  # type: ignore[attr-defined]
        return command

    return decorate


def parameters_of(option: Callable[[Any], Any]) -> list[click.Parameter]:
    """What an option, or a group of them, puts on a command, in the order shown."""

    def nothing() -> None: ...

    return list(reversed(option(nothing).__click_params__))


_ONLY: dict[str, tuple[str, ...]] = {
    "vllm": ("m_values", "max_num_seqs", "max_num_batched_tokens"),
    "sglang": ("chunk_sizes", "max_lora_chunk_size", "workload"),
}
_NAMES = (
    "runtime tp max_loras fully_sharded ep dual_stream target_modules max_num_seqs max_num_batched_tokens chunk_sizes "
    "max_lora_chunk_size traffic overrides lora_rank lora_paths m_values workload"
)


def take_plan(model_name: str, options: dict[str, Any], dtype: str = DEFAULT_DTYPE) -> Plan:
    """Take this group's flags out of a command's options and plan the model.

    Raises:
        InputError: If a flag is missing or contradicts another, or the model cannot be planned.
    """
    given = {name: options.pop(name) for name in _NAMES.split()}
    server = given["runtime"]
    if server is None:
        raise InputError("--runtime: not given; allowed: vllm, sglang")
    other = "sglang" if server == "vllm" else "vllm"
    for name in _ONLY[other]:
        if given[name]:
            raise InputError(f"--{name.replace('_', '-')}: is of {other}, but --runtime is {server}; leave one out")
    if given["max_loras"] is None:
        raise InputError("--max-loras: not given; pass the most adapters that the server keeps for one batch")
    shape = model.load(model_name, _overrides(given["overrides"]))
    serving = Serving(
        server=server,
        tp=given["tp"] or 1,
        rank=_rank(given),
        max_loras=given["max_loras"],
        fully_sharded=bool(given["fully_sharded"]),
        expert_parallel=bool(given["ep"]),
        dual_stream=given["dual_stream"],
        target_modules=_modules(given),
    )
    most_tokens = given["max_num_batched_tokens"] or DEFAULT_MAX_NUM_BATCHED_TOKENS
    batches = Batches(
        max_num_seqs=given["max_num_seqs"] or min(DEFAULT_MAX_NUM_SEQS, most_tokens),
        max_num_batched_tokens=most_tokens,
        workload=given["workload"],
        max_lora_chunk_size=int(given["max_lora_chunk_size"] or DEFAULT_MAX_CHUNK),
        m_values=given["m_values"] or (),
        chunk_sizes=given["chunk_sizes"] or (),
        traffic=traffic.read(given["traffic"]) if given["traffic"] else {},
    )
    return make(shape, serving, batches, dtype)


def take_plan_of_studies(model_flag: str, model_name: str, options: dict[str, Any]) -> Plan:
    """As `take_plan`, of a command that also takes the flags of single problems, which may not be given then.

    Raises:
        InputError: As `take_plan`, or if such a flag is given.
    """
    context = click.get_current_context()
    for parameter in parameters_of(problem_options):
        name = parameter.name or ""
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if given and name not in (*_NAMES.split(), "dtype"):
            raise InputError(f"{parameter.opts[0]}: describes a single problem, {model_flag} a model; leave one out")
    dtype_given = context.get_parameter_source("dtype") is not ParameterSource.DEFAULT
    return take_plan(model_name, options, options["dtype"] if dtype_given else DEFAULT_DTYPE)


def refuse_without(model_flag: str, options: dict[str, Any], but: tuple[str, ...] = ()) -> None:
    """Take this group's flags out of a command's options, none of which may be given without a model.

    Args:
        but: Flags of the group that the command has a use for without a model, too; they stay.

    Raises:
        InputError: If one is given.
    """
    shared = {parameter.name for parameter in parameters_of(problem_options)} if "op_type" in options else set()
    for name in _NAMES.split():
        if name in but or name in shared:
            continue
        value = options.pop(name, None)
        if value and not (name == "tp" and value == 1):
            flag = {"overrides": "set", "lora_paths": "lora-path"}.get(name, name.replace("_", "-"))
            raise InputError(f"--{flag}: is about a model's plan, and no {model_flag} is given; leave it out")


def _rank(given: dict[str, Any]) -> int:
    paths, rank = given["lora_paths"], given["lora_rank"]
    if not paths:
        if rank is None:
            raise InputError("--lora-rank: not given; pass the server's max_lora_rank, or adapters with --lora-path")
        return int(rank)
    needed = servers.get(given["runtime"]).planner.pool_rank(max(map(adapter_rank, paths)))
    if rank is not None and rank < needed:
        raise InputError(
            f"--lora-rank: got {rank}, but the adapters of --lora-path need {needed}; raise it or leave it out"
        )
    return int(rank or needed)


def _modules(given: dict[str, Any]) -> tuple[str, ...] | None:
    if given["target_modules"]:
        if not (names := tuple(given["target_modules"].replace(",", " ").split())):
            raise InputError(
                f"--target-modules: got {given['target_modules']!r}, allowed: names with commas between, of "
                f"{one_of(MODULE_NAMES)}; leave it out for all modules"
            )
        return names
    return target_modules(given["lora_paths"]) if given["lora_paths"] and given["runtime"] == "sglang" else None


def _overrides(items: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for item in items:
        name, _, value = item.partition("=")
        if not name or not value.isdecimal():
            raise InputError(f"--set: got {item!r}, allowed: FIELD=N, e.g. --set num_attention_heads=32")
        if name not in fields.NAMES:
            raise InputError(f"--set: got field {name!r}, allowed: {one_of(fields.NAMES)}; spell it so")
        found[name] = int(value)
    return found
