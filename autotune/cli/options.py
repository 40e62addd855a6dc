"""Flags that several commands share, each declared once, and the dataclasses they are gathered into."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from autotune import servers
from autotune.contract import groups, registry
from autotune.contract.groups import PATHS
from autotune.errors import InputError, one_of
from autotune.measure.recording import RECORDED_DIR
from autotune.plan.expert_counts import count_experts
from autotune.search import SAMPLERS
from autotune.study.describe import BACKENDS
from autotune.study.storage import DEFAULT_URL

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]
_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600}


def flags(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Put several click options on a command, shown in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


class ListingCommand(click.Command):
    """A command whose ``--chunk-sizes`` may be words of their own, ``16 32 64``, as SGLang's script takes them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        joined: list[str] = []
        listing = False
        for before, word in zip(["", *args], args, strict=False):
            first = before == "--chunk-sizes"
            listed = listing and not first and word.isdecimal()
            if listed:
                joined[-1] += f",{word}"
            else:
                joined.append(word)
            listing = first or listed or word.startswith("--chunk-sizes=")
        return super().parse_args(ctx, joined)


class Duration(click.ParamType[float]):
    """Seconds, or with a unit: ``90``, ``90s``, ``10m``, ``2h``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        if (match := re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value)) is None:
            self.fail(f"got {value!r}, allowed: seconds, or a number with s, m or h, e.g. 10m", param, ctx)
        if not (seconds := float(match[1]) * _UNIT_S[match[2]]):
            self.fail(f"got {value!r}, allowed: more than nothing, e.g. 10m", param, ctx)
        return seconds


class Size(click.ParamType[int]):
    """A positive integer."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if not str(value).isdecimal() or int(value) == 0:
            self.fail(f"got {str(value)!r}, allowed: a positive integer", param, ctx)
        return int(value)


class Integers(click.ParamType[tuple[int, ...]]):
    """Positive integers separated by commas or blanks.

    Args:
        distinct: Take each once: for things to tune in turn, not for widths that may be equal.
    """

    name = "integers"

    def __init__(self, distinct: bool = False) -> None:
        self.distinct = distinct

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        words = value.replace(",", " ").split()
        if not words or not all(word.isdigit() and int(word) > 0 for word in words):
            self.fail(f"got {value!r}, allowed: positive integers separated by commas, e.g. 1,16,64", param, ctx)
        integers = tuple(int(word) for word in words)
        return tuple(dict.fromkeys(integers)) if self.distinct else integers


class AutoIntegers(Integers):
    """`Integers`, or ``auto``, which is the same as leaving the flag out."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        return () if value == "auto" else super().convert(value, param, ctx)


storage_option = click.option(
    "--storage",
    envvar="AUTOTUNE_STORAGE",
    default=DEFAULT_URL,
    show_default=True,
    show_envvar=True,
    help="Database URL of the Optuna storage.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
recorded_option = click.option(
    "--recorded",
    type=click.Path(path_type=Path),
    default=RECORDED_DIR,
    help="Folder of recorded spaces for --backend replay.  [default: the shipped ones]",
)
backend_option = click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="auto",
    show_default=True,
    help="Where times come from: this GPU, or a recorded space (auto: the GPU if there is one).",
)

server_option = click.option(
    "--runtime", type=click.Choice(servers.names()), help="Whose kernels and files.  [default: the kernel's]"
)
sglang_options = flags(
    click.option("--output-dim", type=Size(), help="Output width of all slices of an expand, if they are equal."),
    click.option(
        "--chunk-sizes", type=AutoIntegers(distinct=True), help="One study each: 16,32,64,128.  [default: all]"
    ),
    click.option("--max-lora-chunk-size", type=Size(), help="Instead: the chunk sizes that this server launches with."),
    click.option("--total-tokens", type=Size(), help="Tokens, or requests of a decode.  [default: 30720, or 64]"),
    click.option("--workload", metavar="NAME", help="prefill, decode or mixed.  [default: prefill]"),
    click.option(
        "--decode-requests", type=Integers(distinct=True), help="Decode batches of mixed.  [default: 8,64,256]"
    ),
    click.option("--adapter-ranks", type=Integers(), help="Each adapter's own.  [default: --lora-rank]"),
    click.option("--adapter-shares", metavar="NAME", help="Tokens of adapters: skewed or equal.  [default: skewed]"),
)
"""What describes problems of SGLang's kernels beside the sizes that all kernels have."""

problem_options = flags(
    server_option,
    click.option(
        "--op-type",
        "--kernel",
        "op_type",
        metavar="NAME",
        help="Kernel: lora_shrink, lora_expand, ..., path/to/file.py:NAME; or fused_moe_lora for its ops together.",
    ),
    click.option("--dtype", default="torch.float16", show_default=True, help="float16 or bfloat16."),
    click.option("--batch-size", type=Size(), help="Sequences in a batch."),
    click.option("--seq-length", type=Size(), help="Tokens of each; m = batch size x sequence length.  [default: 1]"),
    click.option(
        "--m-values", type=AutoIntegers(distinct=True), help="Token counts m, one study each, e.g. 1,16,64,1024."
    ),
    click.option("--hidden-size", type=Size(), help="Hidden size: k of a shrink, n of an expand."),
    click.option("--lora-rank", "--rank", type=Size(), help="Server's max_lora_rank: n of a shrink, k of an expand."),
    click.option("--num-loras", type=Size(), help="max_loras of the server."),
    click.option("--num-active-loras", type=Size(), help="Adapters that tokens use.  [default: --num-loras]"),
    click.option("--num-slices", type=Size(), help="3 for qkv, 2 for gate_up, 1 otherwise.  [default: 1; MoE 2]"),
    click.option("--slice-widths", type=Integers(), help="Widths of an expand's slices: 4096,1024,1024."),
    click.option("--sort-by-lora-id", type=click.Choice(["0", "1"]), help="Tokens grouped by adapter.  [default: 1]"),
    click.option("--expand-add-inputs", type=click.Choice(["0", "1"]), help="Expand adds to its output.  [default: 1]"),
    click.option("--num-experts", type=Size(), help="Experts of an MoE layer.  [default: 8]"),
    click.option("--top-k-num", type=Size(), help="Experts a token is routed to.  [default: 2]"),
    click.option("--moe-intermediate-size", type=Size(), help="Intermediate size of an expert, per TP shard."),
    click.option("--fully-sharded", is_flag=True, default=None, help="The server runs with --fully-sharded-loras."),
    click.option(
        "--ep",
        is_flag=True,
        default=None,
        help="The server runs with --enable-expert-parallel: --num-experts is one GPU's.",
    ),
    click.option(
        "--tp",
        type=Size(),
        help="The server's tensor-parallel size: of a plan, or of MoE ops, fully sharded or --ep.  [default: 1]",
    ),
    click.option("--routing", type=click.Choice(["uniform", "zipf"]), help="Tokens to experts.  [default: uniform]"),
    click.option("--topk-ids", type=click.Path(path_type=Path), help="Recorded routing: expert ids, a row a token."),
    click.option("--path", type=click.Choice(PATHS), help="MoE kernels to tune for.  [default: auto, as the server]"),
    sglang_options,
    click.option(
        "--dim", "dims", multiple=True, metavar="NAME=VALUE", help="A size of a kernel of your own; repeatable."
    ),
)
creation_options = flags(
    click.option("--space", help="Space preset: wide or vllm-grid for the LoRA kernels.  [default: wide]"),
    click.option("--tag", default="", help="Ending of the studies' names, to keep them beside others."),
)
run_options = flags(
    click.option("--trials", type=Size(), help="Most configs to measure in a study.  [default: 100]"),
    click.option("--timeout", type=Duration(), help="Most wall time of this run, e.g. 10m."),
    click.option(
        "--sampler", type=click.Choice(SAMPLERS), default="auto", show_default=True, help="What proposes configs."
    ),
    click.option(
        "--stop",
        type=click.Choice(["auto", "none"]),
        default="auto",
        show_default=True,
        help="Stop when little is left to gain, or only at the bounds.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of the search."),
    click.option("--allow-env-change", is_flag=True, help="Go on although GPU, driver or versions have changed."),
)
DEFAULT_TRIALS = 100
# What the kernels take where the flag is not given.
NUM_EXPERTS = 8
TOP_K = 2

_ONLY_VLLM = (
    "sort_by_lora_id",
    "expand_add_inputs",
    "num_experts",
    "top_k_num",
    "moe_intermediate_size",
    "fully_sharded",
    "routing",
    "topk_ids",
    "path",
)


@dataclass(frozen=True)
class ProblemFlags:
    """The flags that describe problems, as given.

    Attributes:
        kernel: Registry reference of the kernel.
        values: Flag values by name, as `Kernel.problem_from_flags` takes them; absent where not given.
        m_values: Token counts, one problem each; empty to take m from batch size and sequence length.
        path: Which kernels of a group to tune, one of `autotune.contract.groups.PATHS`; None where not given.
        topk_ids: File of recorded expert ids; None where not given.
    """

    kernel: str
    values: dict[str, Any]
    m_values: tuple[int, ...]
    path: str | None
    topk_ids: Path | None

    def __post_init__(self) -> None:
        values = {**self.values, "path": self.path, "topk_ids": self.topk_ids}
        given = [name for name in _ONLY_VLLM if values.get(name) is not None]
        if given and not groups.find(self.kernel) and registry.load(self.kernel).server == "sglang":
            flag = given[0].replace("_", "-")
            raise InputError(f"--{flag}: not a flag of SGLang's kernels, got {self.kernel}; leave it out")

    @classmethod
    def take(cls, options: dict[str, Any]) -> ProblemFlags:
        """Take this group's flags out of a command's options."""
        names = (
            "dtype batch_size seq_length hidden_size lora_rank num_loras num_active_loras num_slices slice_widths "
            "sort_by_lora_id expand_add_inputs output_dim chunk_sizes max_lora_chunk_size total_tokens workload "
            "decode_requests adapter_ranks adapter_shares num_experts top_k_num moe_intermediate_size fully_sharded "
            "tp ep routing"
        )
        op_type, server = options.pop("op_type"), options.pop("runtime")
        if op_type is None:
            raise InputError(f"--op-type: not given; allowed: {one_of(registry.installed().names())}")
        values = {name: options.pop(name) for name in names.split()}
        for item in options.pop("dims"):
            name, equals, value = item.partition("=")
            if not (name and equals):
                raise InputError(f"--dim: got {item!r}, allowed: NAME=VALUE, e.g. --dim rows=4096")
            values[name] = int(value) if value.lstrip("-").isdigit() else value
        for name in ("sort_by_lora_id", "expand_add_inputs", "fully_sharded", "ep"):
            values[name] = None if values[name] is None else int(values[name])
        m_values, path, topk_ids = options.pop("m_values") or (), options.pop("path"), options.pop("topk_ids")
        kind = groups.find(op_type)
        kernel = op_type if kind and server in (None, kind.server) else registry.of_server(op_type, server)
        if (values["tp"] or 1) > 1 and not groups.concerns(kernel):
            raise InputError(
                f"--tp: got {values['tp']} for {kernel}, allowed: 1, since the sizes you pass are one GPU's; leave it "
                "out, or have a model's sizes worked out (study create --plan, tune --model)"
            )
        if values["ep"] and not groups.concerns(kernel):
            raise InputError(f"--ep: got it for {kernel}, which has no experts; leave it out")
        return cls(kernel, values, m_values, path, topk_ids)

    def with_sizes(self, inferred: Mapping[str, Any]) -> dict[str, Any]:
        """The flag values over those inferred from checkpoints, with the expert ids counted.

        Raises:
            InputError: If the file of expert ids is malformed, or --tp does not divide what was inferred.
        """
        given = {name: value for name, value in self.values.items() if value is not None}
        values = {**inferred, **given, **self._share(inferred, given)}
        if self.topk_ids is not None:
            experts, top_k = int(values.get("num_experts", NUM_EXPERTS)), int(values.get("top_k_num", TOP_K))
            gpus = int(values.get("tp", 1)) if values.get("ep") else 1
            values["expert_counts"] = count_experts(self.topk_ids, experts * gpus, top_k)
        return values

    def _share(self, inferred: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, int]:
        """What of an inferred MoE layer one GPU has: of the experts with --ep, else of each; flags tell a GPU's own."""
        tp, spread = int(given.get("tp", 1)), bool(given.get("ep"))
        name = "num_experts" if spread else "moe_intermediate_size"
        if tp == 1 or name in given or name not in inferred:
            return {}
        if inferred[name] % tp:
            raise InputError(
                f"--tp: got {tp}, which does not divide the model's {name} {inferred[name]}; pass the server's, or one "
                f"GPU's --{name.replace('_', '-')}"
            )
        # Unsharded ops have no further use for it.
        used = {} if spread or given.get("fully_sharded") else {"tp": 1}
        return {name: inferred[name] // tp, **used}
