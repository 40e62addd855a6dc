"""Declares each flag once, under the heading that help shows it under; commands take flags by their keys here.

Headings and flags are in the order that help shows them in. A flag that another command gives another meaning stands
twice, under keys of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import click

from autotune import servers
from autotune.cli import completion
from autotune.cli.flags.types import Bit, Duration, FilePath, Integers, Size, Words
from autotune.contract import groups
from autotune.contract.source import BOTH, SOURCES
from autotune.errors import one_of
from autotune.export.file import OnExist
from autotune.measure.backend import BACKENDS
from autotune.search import SAMPLERS
from autotune.servers.batches import Batches
from autotune.servers.places import SWITCH
from autotune.study.result import STATES

_FILE = FilePath()


@dataclass(frozen=True)
class Flag:
    """A flag, whichever command takes it.

    Attributes:
        names: How users spell it, the usual name first.
        type: Click's type of its values; bool for a switch, which takes none.
        multiple: It may be given several times.
        heading: What help shows it under; the table fills it in.
        complete: What a shell offers for its value.
    """

    names: tuple[str, ...]
    help: str
    type: Any = str
    metavar: str | None = None
    multiple: bool = False
    envvar: str | None = None
    heading: str = ""
    complete: Callable[[click.Context, click.Parameter, str], list[str]] | None = None


def _flag(names: str, help: str, type: Any = str, **more: Any) -> Flag:
    return Flag(tuple(names.split()), help, type, **more)


SYNONYMS = {"max_loras": "num_loras", "num_loras": "max_loras"}
"""Flags of one meaning: a command that has one of the two takes both spellings."""

_MODEL = "Model (all that a server looks up for it)"
_PROBLEM = "Problem (a shape of one kernel)"
_BLOCK = "All layers of a decoder block (--runtime sglang)"
HIDDEN_BY: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("model", "plan_model", "trace", "serve_command"), (_PROBLEM, _BLOCK)),
    "op_type": (_MODEL, _BLOCK),
    "qkv_output_dim": (_MODEL,),
}
"""By a flag that says which way to tune is meant, the headings of other ways: help that follows it leaves them out."""

_BY_HEADING: dict[str, dict[str, Flag]] = {
    _MODEL: {
        "plan_model": _flag(
            "--plan",
            "All studies of a model; takes plan's flags, and no --op-type.",
            metavar="MODEL",
            complete=completion.models,
        ),
        "plan_name": _flag(
            "--plan",
            "The studies of a plan, by the name that plan prints.",
            metavar="NAME",
            complete=completion.plan_names,
        ),
        "model": _flag(
            "--model",
            "Model to look up all for: a folder, preset or Hugging Face id.",
            metavar="MODEL",
            complete=completion.models,
        ),
        "max_loras": _flag("--max-loras --max-loras-per-batch", "The most adapters of one batch.", Size()),
        "lora_paths": _flag(
            "--lora-path", "Folder of an adapter: gives the rank (and SGLang's modules).", _FILE, multiple=True
        ),
        "target_modules": _flag(
            "--target-modules --lora-target-modules",
            "--lora-target-modules of the server, with commas between.  [default: all that it wraps]",
            metavar="NAMES",
        ),
        "dual_stream": _flag("--dual-stream", "vLLM: VLLM_LORA_ENABLE_DUAL_STREAM=1.", bool),
        "data_parallel_size": _flag(
            "--data-parallel-size", "vLLM: its flag; experts are shared out over all GPUs.  [default: 1]", Size()
        ),
        "mixed_moe_lora_format": _flag("--enable-mixed-moe-lora-format", "vLLM: its flag.", bool),
        "moe_shared_loras": _flag("--enable-moe-shared-loras", "vLLM: its flag.", bool),
        "disable_shared_experts_fusion": _flag("--disable-shared-experts-fusion", "SGLang: its flag.", bool),
        "tower_connector_lora": _flag("--enable-tower-connector-lora", "vLLM: its flag.", bool),
        "max_num_seqs": _flag("--max-num-seqs", f"vLLM: its flag.  [default: {Batches.max_num_seqs}]", Size()),
        "max_num_batched_tokens": _flag(
            "--max-num-batched-tokens", f"vLLM: its flag.  [default: {Batches.max_num_batched_tokens}]", Size()
        ),
        "cudagraph_capture_sizes": _flag(
            "--cudagraph-capture-sizes --cuda-graph-sizes",
            "vLLM: its flag, with commas between.  [default: asked of the installed server]",
            Integers(distinct=True),
        ),
        "max_cudagraph_capture_size": _flag("--max-cudagraph-capture-size", "vLLM: its flag.", Size()),
        "enforce_eager": _flag("--enforce-eager", "vLLM: its flag: no CUDA graph is captured.", bool),
        "num_speculative_tokens": _flag(
            "--num-speculative-tokens --spec-tokens",
            "vLLM: tokens drafted for each request, as its --speculative-config has them.  [default: 0]",
            Size(),
        ),
        "traffic": _flag("--traffic", "Token counts and weights, JSON or CSV.", _FILE, metavar="FILE"),
        "trace": _flag(
            "--trace",
            "Plan what a server looked up that ran with LORA_AUTOTUNE_TRACE=FILE, in place of a model.",
            _FILE,
            metavar="FILE",
        ),
        "from_server": _flag(
            "--from-server", "Plan by the installed server's own classes or not at all.  [default: where it is]", bool
        ),
        "from_tables": _flag("--from-tables", "Plan by the tool's tables even where the server is installed.", bool),
        "overrides": _flag("--set", "A field of the model's config; repeatable.", metavar="FIELD=N", multiple=True),
    },
    "Server": {
        "serve_command": _flag(
            "--serve-command",
            "How the server is started, quoted: 'vllm serve MODEL ...'; fills the flags that it says.",
            metavar="COMMAND",
        ),
        "server": _flag(
            "--runtime", "Whose kernels and files.  [default: the kernel's]", click.Choice(servers.names())
        ),
        "lora_rank": _flag("--lora-rank --rank --max-lora-rank", "The server's max_lora_rank.", Size()),
        "tp": _flag(
            "--tp --tensor-parallel-size --tp-size",
            "Tensor-parallel size: of a plan, or of MoE ops, fully sharded or --ep.  [default: 1]",
            Size(),
        ),
        "fully_sharded": _flag("--fully-sharded --fully-sharded-loras", "vLLM: the server runs with it.", bool),
        "ep": _flag(
            "--ep --enable-expert-parallel",
            "vLLM: it runs with it; --num-experts is one GPU's.",
            bool,
        ),
        "max_lora_chunk_size": _flag(
            "--max-lora-chunk-size", f"SGLang: its flag.  [default: {Batches.max_lora_chunk_size}]", Size()
        ),
        "triton": _flag("--triton", "SGLang: the server's Triton.  [default: the installed one]", metavar="VERSION"),
        "gpu": _flag("--gpu", "The server's GPU.  [default: the one whose files are there]", metavar="NAME"),
        "dtype": _flag("--dtype", "float16 or bfloat16."),
    },
    _PROBLEM: {
        "op_type": _flag(
            "--op-type --kernel",
            "Kernel: lora_shrink, lora_expand, ..., path/to/file.py:NAME; or fused_moe_lora for its ops together.",
            metavar="NAME",
        ),
        "kernel_files": _flag(
            "--kernel",
            "File of a study's kernel that may run although it has changed, is not your own or others can write to it.",
            metavar="FILE",
            multiple=True,
        ),
        "hidden_size": _flag("--hidden-size", "Hidden size: k of a shrink, n of an expand.", Size()),
        "num_loras": _flag("--num-loras", "max_loras of the server.", Size()),
        "num_slices": _flag("--num-slices", "3 for qkv, 2 for gate_up, 1 otherwise.  [default: 1; MoE 2]", Size()),
        "slice_widths": _flag("--slice-widths", "Widths of an expand's slices: 4096,1024,1024.", Integers()),
        "output_dim": _flag("--output-dim", "SGLang: output width of an expand's equal slices, summed.", Size()),
        "expand_add_inputs": _flag("--expand-add-inputs", "vLLM: expand adds to its output.  [default: 1]", Bit()),
        "num_experts": _flag("--num-experts", "Experts of an MoE layer.  [default: 8]", Size()),
        "top_k_num": _flag("--top-k-num", "Experts a token is routed to.  [default: 2]", Size()),
        "moe_intermediate_size": _flag("--moe-intermediate-size", "One GPU's intermediate size of an expert.", Size()),
        "block_m": _flag("--block-m", "MoE in the plug-in: rows that vLLM aligns to.  [default: 64]", Size()),
        "path": _flag(
            "--path", "MoE kernels to tune for.  [default: auto, as the server]", click.Choice(groups.paths())
        ),
        "model_path": _flag("--model-path", "Folder of a base model: its config.json gives sizes.", _FILE),
        "dims": _flag("--dim", "A size of a kernel of your own; repeatable.", metavar="NAME=VALUE", multiple=True),
    },
    _BLOCK: {
        "qkv_output_dim": _flag("--qkv-output-dim", "Widths of q and k; or all summed.", Integers()),
        "intermediate_size": _flag("--intermediate-size", "Width of the MLP.  [default: 3 x hidden]", Size()),
    },
    "Workload (what batches look like)": {
        "m_values": _flag(
            "--m-values",
            "vLLM: token counts m, one study each, e.g. 1,16,64,1024; or auto, for a model.",
            Integers(distinct=True, auto=True),
        ),
        "batch_size": _flag("--batch-size", "Instead: sequences in a batch.", Size()),
        "seq_length": _flag("--seq-length", "Tokens of each; m = batch size x sequence length.  [default: 1]", Size()),
        "chunk_sizes": _flag(
            "--chunk-sizes",
            "SGLang: one study each: 16,32,64,128; or auto.  [default: all; of a model those that occur]",
            Integers(distinct=True, auto=True),
        ),
        "workload": _flag(
            "--workload", "SGLang: prefill, decode or mixed.  [default: mixed; of our kernels prefill]", metavar="NAME"
        ),
        "total_tokens": _flag(
            "--total-tokens", "SGLang: tokens, or requests of a decode.  [default: 30720, or 64]", Size()
        ),
        "decode_requests": _flag(
            "--decode-requests", "SGLang: decode batches of mixed.  [default: 8,64,256]", Integers(distinct=True)
        ),
        "num_active_loras": _flag("--num-active-loras", "Adapters that tokens use.  [default: --num-loras]", Size()),
        "adapter_ranks": _flag("--adapter-ranks", "SGLang: each adapter's own.  [default: --lora-rank]", Integers()),
        "adapter_shares": _flag(
            "--adapter-shares", "SGLang: tokens of adapters: skewed or equal.  [default: skewed]", metavar="NAME"
        ),
        "sort_by_lora_id": _flag("--sort-by-lora-id", "vLLM: tokens grouped by adapter.  [default: 1]", Bit()),
        "routing": _flag("--routing", "MoE: tokens to experts.  [default: uniform]", click.Choice(["uniform", "zipf"])),
        "topk_ids": _flag("--topk-ids", "MoE: recorded routing: expert ids, a row a token.", _FILE),
    },
    "Lookup": {
        "op": _flag("--op", f"The server's op: {one_of(servers.ops())}.", click.Choice(servers.ops()), metavar="NAME"),
        "m": _flag("--m", "vLLM: rows of the batch.", Size()),
        "k": _flag("--k", "k of the lookup (SGLang: K).", Size()),
        "n": _flag("--n", "vLLM: n of the lookup.", Size()),
        "intermediate": _flag("--intermediate", "vLLM's fused MoE ops: i of the lookup.", Size()),
        "chunk_size": _flag("--chunk-size", "SGLang: chunk size of the batch.", Size()),
    },
    "Search": {
        "space": _flag("--space", "Space preset: wide or vllm-grid for the LoRA kernels.  [default: wide]"),
        "trials": _flag("--trials", "Most configs to measure in a study.", Size()),
        "max_configs": _flag("--max-configs", "Most configs to measure; same as --trials.", Size()),
        "more": _flag("--more", "Measure this many more configs, of finished studies, too, and decide again.", Size()),
        "timeout": _flag("--timeout", "Most wall time of this run, e.g. 10m.", Duration()),
        "sampler": _flag("--sampler", "What proposes configs.", click.Choice(SAMPLERS)),
        "stop": _flag(
            "--stop", "Stop when little is left to gain, or only at the bounds.", click.Choice(["auto", "none"])
        ),
        "seed": _flag("--seed", "Seed of the search.", click.IntRange(0, (1 << 32) - 1)),
        "backend": _flag(
            "--backend",
            "Where times come from: this GPU, or a recorded space (auto: the GPU if there is one).",
            click.Choice(BACKENDS),
        ),
        "source": _flag(
            "--source",
            "Whose kernel is timed: the installed server's own, or the built-in one (auto: the server's where it is "
            "installed beside a GPU).",
            click.Choice(SOURCES),
        ),
        "sources": _flag(
            "--source",
            "Whose kernel is tuned: the installed server's own (served), the plug-in's (builtin), or both, and timed "
            "against each other (auto: the server's where it is installed beside a GPU; of a model the plug-in's as "
            f"well, where {SWITCH} switches it on).",
            click.Choice((*SOURCES, BOTH)),
        ),
        "allow_unknown_server": _flag(
            "--allow-unknown-server", "Time the server's own kernel although its release is not known.", bool
        ),
        "recorded": _flag(
            "--recorded", "Folder of recorded spaces for --backend replay.  [default: the shipped ones]", _FILE
        ),
        "save_recording": _flag(
            "--save-recording", "Keep the sweep as a recorded space, for replays.", _FILE, metavar="DIR"
        ),
        "arg_pool_size": _flag("--arg-pool-size", "Most argument sets to walk over.  [default: 256]", Size()),
        "allow_env_change": _flag("--allow-env-change", "Go on although GPU, driver or versions have changed.", bool),
        "measure": _flag("--measure", "Time both sides on this GPU, too; the other flags tell what keys do not.", bool),
        "exit_code": _flag("--exit-code", "Exit with 1 if anything differs.", bool),
        "cuda_graph_nops": _flag(
            "--cuda-graph-nops", "Taken for compatibility: graphs are made long enough by themselves.", int
        ),
        "test_correctness": _flag(
            "--test-correctness", "Taken for compatibility: every config is always checked.", bool
        ),
    },
    "Comparison": {
        "spaces": _flag("--spaces", "Recorded spaces, by name: 'vllm_shrink_*'.", metavar="GLOB"),
        "samplers": _flag("--samplers", "Samplers, with commas between.  [default: auto and every rival]", Words()),
        "seeds": _flag("--seeds", "Searches of each sampler on each space.", click.IntRange(min=1)),
        "budgets": _flag("--budgets", "Evaluations, with commas between.  [default: 25,50,100]", Words()),
        "neighbour": _flag("--neighbour", "Give ours one finished neighbour: leave-one-out within a kernel.", bool),
        "no_estimate": _flag("--no-estimate", "Give ours nothing of what kernels expect of their configs.", bool),
        "min_configs": _flag("--min-configs", "Leave out spaces of fewer configs.", click.IntRange(min=1)),
        "workers": _flag("--workers", "Number of processes.  [default: one a usable core]", click.IntRange(min=1)),
        "plot": _flag("--plot", "Draw the curves.", FilePath(dir_okay=False), metavar="FILE"),
    },
    "End to end": {
        "folder": _flag("--dir", "Folder of config files to time the server with: variant B.", _FILE),
        "adapters": _flag("--adapters", "Adapters of random weights to make.  [default: --max-loras]", Size()),
        "decode": _flag("--decode", "Sizes of decode batches, with commas between.", Integers(distinct=True)),
        "prefill": _flag("--prefill", "Prefill batch: requests x tokens of each.", metavar="NxTOKENS"),
        "rounds": _flag("--rounds", "Processes of each variant, back and forth in turn.", Size()),
        "variants": _flag(
            "--variant",
            "A further variant: the defaults in an environment of its own; repeatable.",
            metavar="NAME:KEY=VALUE,...",
            multiple=True,
        ),
        "engine_timeout": _flag("--engine-timeout", "Longest that one process may take.  [default: 15m]", Duration()),
        "prove": _flag(
            "--prove",
            "Of a model: time the server's engine with what was written, one round; the table is kept beside it.",
            bool,
        ),
        "html": _flag("--html", "Write the tables.", FilePath(dir_okay=False), metavar="FILE"),
    },
    "Output": {
        "save_json_dir": _flag("--save-json-dir", "Folder of the JSON files.", _FILE),
        "json_overwrite": _flag(
            "--json-overwrite", "Merge into files that are there, else write new ones beside.", bool
        ),
        "output_csv": _flag("--output-csv", "Write every measured config to this file.", _FILE),
        "directory": _flag("--dir", "Folder of the JSON files.", _FILE),
        "proven_dir": _flag(
            "--dir", "An export's folder: adds what the server's engine took with it (tune --prove).", _FILE
        ),
        "of_server": _flag("--runtime", "Only studies of this server's kernels.", click.Choice(servers.names())),
        "on_exist": _flag(
            "--on-exist",
            "What to do with a file that is there: merge into it, replace it, or write a new one beside it.",
            click.Choice(get_args(OnExist)),
        ),
        "csv": _flag("--csv", "Also write every measured config to this file.", _FILE),
        "page": _flag("--html", "Write one HTML file with plots, which loads nothing.", _FILE, metavar="FILE"),
        "rows": _flag("--csv", "Write one row a study.", _FILE, metavar="FILE"),
        "md": _flag("--md", "Write Markdown tables.", _FILE, metavar="FILE"),
        "all_m": _flag(
            "--all-m", "Of a plan for vLLM: write every measured m, also those that the nearest serves.", bool
        ),
        "dry_run": _flag("--dry-run", "Say what would be done: what this command always does.", bool),
        "state": _flag("--state", f"Only studies that are {one_of(STATES)}.", click.Choice(STATES)),
        "as_json": _flag("--json", "Print JSON.", bool),
    },
    "Storage": {
        "storage": _flag("--storage", "Database URL of the Optuna storage.", envvar="AUTOTUNE_STORAGE"),
        "tag": _flag("--tag", "Ending of the studies' names, to keep them beside others."),
        "skip_if_exists": _flag("--skip-if-exists", "Skip studies that exist.", bool),
        "yes": _flag("--yes", "Do not ask.", bool),
        "read_only": _flag("--read-only", "Refuse all that would change the storage.", bool),
        "port": _flag("--port", "Port to listen on.", click.IntRange(1, 65535)),
    },
    "Messages (on stderr)": {
        "verbose": _flag("--verbose -v", "Print each step, too.", bool),
        "quiet": _flag("--quiet -q", "Print errors only, and no progress.", bool),
        "log_file": _flag("--log-file", "Keep all messages in this file, with times.", _FILE, metavar="FILE"),
    },
}

FLAGS: dict[str, Flag] = {
    name: replace(flag, heading=heading) for heading, flags in _BY_HEADING.items() for name, flag in flags.items()
}
