"""``tune`` creates, runs and exports in one go, with the flags of vLLM's LoRA tuning script."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import click
from optuna.storages import BaseStorage

from autotune import api
from autotune.api import StudySet
from autotune.cli.advice import say_advice
from autotune.cli.export_output import Target, check_csv, export_studies
from autotune.cli.flags.block import BlockFlags, refuse_unplanned
from autotune.cli.flags.command import FlagCommand, names_of, takes_flags
from autotune.cli.flags.model import PlanFlags, adapters_in_place
from autotune.cli.flags.problem import ProblemFlags
from autotune.cli.flags.run import MakingFlags, RunFlags
from autotune.cli.messages import tell
from autotune.cli.plan import show_plan
from autotune.cli.proving import EngineRound
from autotune.cli.running import load_ahead, raise_if_any, run_studies, say_notes, show_compared, show_results
from autotune.cli.storage import open_storage
from autotune.contract.source import BUILTIN
from autotune.errors import InputError
from autotune.export.file import OnExist
from autotune.model.flag_sizes import infer_sizes
from autotune.plan.plan import DEFAULT_DTYPE, Plan
from autotune.report.layers import COLUMNS, cells, layer_results, savings
from autotune.report.results import machines
from autotune.report.tables import show, table
from autotune.run.clock import Deadline
from autotune.servers.command_line import DecoderBlock
from autotune.study import studies
from autotune.study.describe import Request
from autotune.study.study import KernelStudy
from autotune.untrusted.printing import say

_LEAST_S = 10.0
"""What studies have, however much of the command's time went before: enough for a few, or for a race of a default."""

_WRITING_S = 0.01
"""What it takes, for each study, to read the results and to write, check and print them; on a slow core a bit more."""

_WORTH_TELLING = 0.05
"""Share of a command's time that went elsewhere than to its studies, from which on it is told."""


@dataclass(frozen=True)
class ScriptFlags:
    """The further flags of vLLM's tuning script, and what else `tune` alone takes."""

    model_path: Path | None = None
    lora_paths: tuple[Path, ...] = ()
    max_configs: int | None = None
    save_json_dir: Path | None = None
    json_overwrite: bool = False
    output_csv: Path | None = None
    arg_pool_size: int | None = None
    cuda_graph_nops: int | None = None
    test_correctness: bool = False
    all_m: bool = False
    prove: bool = False

    @property
    def on_exist(self) -> OnExist:
        return "merge" if self.json_overwrite else "new"


@click.command(cls=FlagCommand)
@takes_flags
def tune(
    problem: ProblemFlags,
    serving: PlanFlags,
    block: BlockFlags,
    script: ScriptFlags,
    making: MakingFlags,
    running: RunFlags,
    dtype: str = DEFAULT_DTYPE,
) -> None:
    """Create, run and export in one go.

    Takes the flags of vLLM's LoRA tuning script unchanged. Studies that exist are gone on with. Help that follows
    --model MODEL, --op-type NAME or --qkv-output-dim N leaves out the headings of other ways to tune.

    \b
    Everything that a server looks up for a model, as plan lists it:
      python -m autotune tune --model Qwen3-8B --runtime vllm \\
          --lora-rank 16 --max-loras 4 --save-json-dir tuned

    \b
    One shape:
      python -m autotune tune --op-type lora_shrink --batch-size 16 \\
          --hidden-size 5120 --lora-rank 16 --num-loras 4 --save-json-dir tuned

    \b
    Every layer of a decoder block, with the flags of SGLang's csgmv tuner:
      python -m autotune tune --runtime sglang --hidden-size 1024 \\
          --qkv-output-dim 2048,1024 --intermediate-size 3072 --rank 64 \\
          --chunk-sizes 16,128 --save-json-dir tuned
    """
    end = Deadline(running.timeout)
    # Before the kernels are looked up, which loads torch here, too.
    load_ahead(making.backend)
    request, layers, proof = making.request(script.arg_pool_size), None, None
    if problem.op_type is not None and block.model is None:
        problem, serving = adapters_in_place(problem, serving, of_model=False)
    plan = _planned(problem, serving, block.model, dtype)
    if plan is not None:
        proof = _proof(block.model, plan, serving, script)
        wanted = _of_plan(plan, request, making)
    else:
        _refuse_model_flags(problem, serving, block, script)
        layers = block.read(problem)
        wanted = _of_problem(problem, layers, script, request)
    for note in wanted.notes:
        tell(f"Note: {note}.")
    _check_targets(script, wanted)
    if script.max_configs is not None:
        running = replace(running, trials=script.max_configs)
    storage = open_storage(making.storage, create=True)
    finished, failures = _run(storage, wanted, running, end)
    if not finished:
        raise_if_any(failures)
    if layers is not None:
        _show_block(layers, finished)
    else:
        show_results(finished, wanted.plan_name)
    _write(finished, script, wanted.plan_name)
    raise_if_any(failures)
    if proof is not None and script.save_json_dir is not None:
        proof.run(script.save_json_dir)


def _planned(problem: ProblemFlags, serving: PlanFlags, model: str | None, dtype: str) -> Plan | None:
    """Plans the model or the trace, if one is given with all that a plan needs."""
    if serving.trace is None and (model is None or serving.max_loras is None):
        return None
    serving.refuse_problem("--model" if serving.trace is None else "--trace", problem)
    return serving.planned(model, dtype, "--model")


def _proof(model: str | None, plan: Plan, serving: PlanFlags, script: ScriptFlags) -> EngineRound | None:
    """Returns the round of the engine that was asked for."""
    if not script.prove:
        return None
    if model is None:
        raise InputError("--prove: runs a model in the server's engine, and a trace names none; leave it out")
    if script.save_json_dir is None:
        raise InputError(
            "--prove: times the server with the files, and there are none without --save-json-dir; give it"
        )
    return EngineRound.of(model, plan, script.lora_paths, serving.overrides)


def _of_plan(plan: Plan, request: Request, making: MakingFlags) -> StudySet:
    """Describes a plan's studies, and shows the plan."""
    wanted = api.of_plan(plan, request)
    backend = next(iter(wanted.specs.values())).backend
    show_plan(plan, wanted.work, api.all_timed_kernels(plan, making.sources, backend), wanted.plan_name)
    return wanted


def _of_problem(problem: ProblemFlags, block: DecoderBlock | None, script: ScriptFlags, request: Request) -> StudySet:
    """Reads a problem, or the layers of a block with what is the same for all."""
    if block is not None:
        # The other flags are read as those of one of its kernels.
        problem = replace(problem, op_type=block.ops[0])
    problems = problem.read()
    inferred = infer_sizes(script.model_path, next(iter(script.lora_paths), None), problems.values.keys())
    problems = problems.with_sizes(inferred, problem.topk_ids)
    if block is None:
        return api.of_problems(problems, request)
    studies = api.of_block(block, problem.server or "", problems, request)
    for note in block.notes:
        tell(f"Note: {note}")
    return studies


def _refuse_model_flags(problem: ProblemFlags, serving: PlanFlags, block: BlockFlags, script: ScriptFlags) -> None:
    """Refuses what only makes sense with all that a server looks up for a model."""
    if block.model is not None and problem.op_type is None:
        refuse_unplanned(problem.server, serving.tp)
    lacking = "--model" if block.model is None else "--max-loras"
    serving.refuse(lacking, but=names_of(ProblemFlags, ScriptFlags))
    if script.prove:
        raise InputError(f"--prove: times a whole model, and no {lacking} is given; leave it out")
    if script.all_m:
        raise InputError(f"--all-m: is about a model's plan, and no {lacking} is given; leave it out: all are written")
    if len(script.lora_paths) > 1:
        raise InputError("--lora-path: got several adapters, allowed without --model: one")


def _check_targets(script: ScriptFlags, wanted: StudySet) -> None:
    """Refuses, before anything is tuned, a folder or a table that could not be written in the end."""
    if script.save_json_dir is not None:
        api.check_export(wanted.specs.values(), script.save_json_dir, script.on_exist)
    if script.output_csv is not None:
        check_csv(script.output_csv, "--output-csv")


def _run(
    storage: BaseStorage, wanted: StudySet, running: RunFlags, end: Deadline
) -> tuple[list[KernelStudy], list[str]]:
    """Creates the studies, and runs those that are not finished, and then those that follow from them.

    Args:
        end: Of the command's time, which has begun with it.

    Returns:
        All studies, without those that failed, and what these say.
    """
    part = len(wanted.specs) / (len(wanted.specs) + wanted.still_to_follow)
    ran, failures = _run_set(storage, wanted, running, end, part)
    if (behind := wanted.behind(storage)) is not None:
        ran, failed_behind = _run_set(storage, behind, running, end)
        failures += failed_behind
    return [item for item in ran if item.result is not None or not failures], failures


def _run_set(
    storage: BaseStorage, wanted: StudySet, running: RunFlags, end: Deadline, part: float = 1.0
) -> tuple[list[KernelStudy], list[str]]:
    """Returns a set's studies, and what those say that failed.

    Args:
        part: Of the time that is left, what the set may take.
    """
    names = wanted.create(storage, skip_if_exists=True)
    chosen = [studies.load(storage, name) for name in names]
    if any(item.result is None for item in chosen) or api.has_due(chosen):
        return chosen, run_studies(storage, chosen, _in_time(running, end, len(names), part), wanted.plan_name)
    return chosen, []


def _in_time(running: RunFlags, end: Deadline, count: int, part: float) -> RunFlags:
    """Gives a run the time that the command has left, but what its files take; tells of it where that is less."""
    if running.timeout is None or end.left_s is None:
        return running
    left_s = max(min(_LEAST_S, running.timeout), end.left_s - _WRITING_S * count)
    if left_s < (1 - _WORTH_TELLING) * running.timeout:
        tell(f"Note: --timeout {running.timeout:g} s counts from the command's start: {left_s:.0f} s are left to tune.")
    return replace(running, timeout=part * left_s)


def _show_block(block: DecoderBlock, finished: list[KernelStudy]) -> None:
    """Prints what tuning did for the server's kernels and for ours, each by itself, and then the two beside each
    other."""
    by_source: dict[str, list[KernelStudy]] = {}
    for item in finished:
        by_source.setdefault(item.spec.source, []).append(item)
    for index, (source, of_source) in enumerate(by_source.items()):
        if index:
            say()
        whose = "our kernels: " if source == BUILTIN else f"the kernels of {source}: "
        _show_layers(block, of_source, whose if len(by_source) > 1 else "")
    show_compared(finished)


def _show_layers(block: DecoderBlock, finished: list[KernelStudy], whose: str) -> None:
    """Prints a row a layer, kernel and chunk size, and what is saved."""
    results = layer_results(block.layers, [item.summary for item in finished])
    show(table(f"{whose}{machines(finished)}", COLUMNS, map(cells, results)))
    if any(item.result and item.result.decision.workloads for item in finished):
        say("Where several kinds of batches were timed, times are means of theirs.")
    say()
    show(table("", *savings(results)))


def _write(finished: list[KernelStudy], script: ScriptFlags, plan_name: str | None) -> None:
    """Writes the files that were asked for, or says that there are none."""
    if script.save_json_dir is not None:
        required = api.required_by(finished, plan_name) if plan_name else ()
        finished = api.decided(finished, plan_name) if plan_name else finished
        thin = plan_name is not None and not script.all_m
        target = Target(script.save_json_dir, script.on_exist, script.output_csv)
        export_studies(finished, target, required=required, thin=thin)
        return
    say_notes(finished)
    if plan_name is None:  # A plan has told what holds of its server.
        say_advice(finished)
    way = "study export --plan" if plan_name else "study export"
    tell(f"No file was written; name a folder with --save-json-dir, or use {way}.")
    if script.output_csv is not None:
        api.write_csv(finished, script.output_csv)
