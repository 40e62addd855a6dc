"""``tune``: create, run and export in one go, with the flags of vLLM's LoRA tuning script."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from autotune.cli.exporting import all_m_option, check_csv, check_folder, export_studies, write_csv
from autotune.cli.model import tune_model
from autotune.cli.options import (
    ListingCommand,
    ProblemFlags,
    Size,
    backend_option,
    creation_options,
    flags,
    problem_options,
    recorded_option,
    run_options,
    storage_option,
)
from autotune.cli.plan_options import added, plan_options, refuse_without
from autotune.cli.running import RunFlags, load_ahead, run_studies, say_advice, show_results
from autotune.cli.sglang_layers import layer_options, take_block
from autotune.errors import InputError
from autotune.measure.settings import MeasureSettings
from autotune.model.flag_sizes import infer_sizes
from autotune.study import creation, studies
from autotune.study.describe import Request
from autotune.study.storage import open_storage

script_options = flags(
    click.option(
        "--model-path", type=click.Path(path_type=Path), help="Folder of a base model: its config.json gives sizes."
    ),
    click.option(
        "--lora-path",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Folder of an adapter: its config or weights give the rank; with --model repeatable.",
    ),
    click.option("--max-configs", type=Size(), help="Most configs to measure; same as --trials."),
    click.option("--save-json-dir", type=click.Path(path_type=Path), help="Folder of the JSON files."),
    click.option("--json-overwrite", is_flag=True, help="Merge into files that are there, else write new ones beside."),
    click.option("--output-csv", type=click.Path(path_type=Path), help="Write every measured config to this file."),
    click.option("--arg-pool-size", type=Size(), help="Most argument sets to walk over. [default: 256]"),
    click.option(
        "--cuda-graph-nops", type=int, help="Taken for compatibility: graphs are made long enough by themselves."
    ),
    click.option("--test-correctness", is_flag=True, help="Taken for compatibility: every config is always checked."),
)


@click.command(cls=ListingCommand)
@added(plan_options)
@problem_options
@layer_options
@script_options
@all_m_option
@creation_options
@run_options
@backend_option
@recorded_option
@storage_option
def tune(**options: Any) -> None:
    """Create, run and export in one go.

    Takes the flags of vLLM's LoRA tuning script unchanged. Studies that exist are gone on with.

    \b
    Example:
      python -m autotune tune --op-type lora_shrink --batch-size 16 --hidden-size 5120 \\
          --lora-rank 16 --num-loras 4 --save-json-dir tuned

    With --runtime sglang and no --op-type: every layer of a decoder block, with the flags of SGLang's csgmv tuner.

    \b
    Example:
      python -m autotune tune --runtime sglang --hidden-size 1024 --qkv-output-dim 2048,1024 \\
          --intermediate-size 3072 --rank 64 --chunk-sizes 16,128 --save-json-dir tuned

    With --model and --max-loras: everything that a server looks up for the model, as plan lists it.

    \b
    Example:
      python -m autotune tune --model Qwen3-8B --runtime vllm --lora-rank 16 --max-loras 4 \\
          --save-json-dir tuned
    """
    # Before the kernels are looked up, which loads torch here, too.
    load_ahead(options["backend"])
    if options["model"] is not None and options["max_loras"] is not None:
        tune_model(str(options.pop("model")), options)
        return
    if options["model"] is not None and options["op_type"] is None:
        _check_layers_of_model(options["runtime"], options["tp"] or 1)
    refuse_without("--model", options)
    if options["all_m"]:
        raise InputError("--all-m: is about a model's plan, and no --model is given; leave it out: all are written")
    if len(options["lora_path"]) > 1:
        raise InputError("--lora-path: got several adapters, allowed without --model: one")
    block = take_block(options)
    problem = ProblemFlags.take(options)
    given = [name for name, value in problem.values.items() if value is not None]
    inferred = infer_sizes(options["model_path"], next(iter(options["lora_path"]), None), given)
    values = problem.with_sizes(inferred)
    run_flags = RunFlags.take(options)
    if options["max_configs"] is not None:
        run_flags = replace(run_flags, trials=options["max_configs"])
    settings = MeasureSettings()
    if options["arg_pool_size"] is not None:
        settings = replace(settings, max_sets=options["arg_pool_size"])
    request = Request(
        problem.kernel, options["backend"], options["space"], options["tag"], options["recorded"], settings
    )
    if block:
        specs = block.specs(request, values, problem.m_values)
    else:
        specs = creation.describe_flags(request, values, problem.m_values, problem.path)
    on_exist = "merge" if options["json_overwrite"] else "new"
    if options["save_json_dir"] is not None:
        check_folder(specs.values(), options["save_json_dir"], on_exist)
    if options["output_csv"] is not None:
        check_csv(options["output_csv"], "--output-csv")
    storage = open_storage(options["storage"], create=True)
    names = creation.create_all(storage, specs, skip_if_exists=True)
    unfinished = [name for name in names if studies.load(storage, name).result is None]
    if unfinished:
        run_studies(storage, unfinished, run_flags)
    finished = [studies.load(storage, name) for name in names]
    if block:
        block.show(finished)
    else:
        show_results(finished)
    if options["save_json_dir"] is not None:
        export_studies(finished, options["save_json_dir"], on_exist, options["output_csv"], as_json=False)
    else:
        say_advice(finished)
        click.echo("No file was written; name a folder with --save-json-dir, or use study export.", err=True)
        if options["output_csv"] is not None:
            write_csv(finished, options["output_csv"])


def _check_layers_of_model(server: str | None, tp: int) -> None:
    """Refuse ``--model`` without ``--max-loras`` where that does not mean the layers of one block for SGLang."""
    if server is None:
        raise InputError(
            "--runtime: not given; --model goes with --runtime and --max-loras, as plan takes them, or for the layers "
            "of one block with --runtime sglang"
        )
    if server != "sglang":
        raise InputError("--max-loras: not given; tune --model needs the flags of plan")
    if tp > 1:
        raise InputError(f"--max-loras: not given; --model with --tp {tp} is planned, and needs the flags of plan")
