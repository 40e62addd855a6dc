"""``study create`` makes a study for each shape of a problem, or for all that a server looks up for a model."""

from __future__ import annotations

import json

import click

from autotune import api
from autotune.cli.flags.command import FlagCommand, names_of, takes_flags
from autotune.cli.flags.model import PlanFlags, adapters_in_place
from autotune.cli.flags.problem import ProblemFlags
from autotune.cli.flags.run import MakingFlags
from autotune.cli.messages import tell, working
from autotune.cli.storage import open_storage
from autotune.plan.plan import DEFAULT_DTYPE
from autotune.study import studies
from autotune.study.serving_notes import serving_notes
from autotune.untrusted.printing import say


@click.command(cls=FlagCommand)
@takes_flags
def create(
    problem: ProblemFlags,
    serving: PlanFlags,
    making: MakingFlags,
    plan_model: str | None = None,
    dtype: str = DEFAULT_DTYPE,
    skip_if_exists: bool = False,
    as_json: bool = False,
) -> None:
    """Create a study for each size of a model, or of a problem.

    Prints their names, which all other commands take.

    \b
    Example:
      python -m autotune study create --op-type lora_shrink --m-values 1,16,64 \\
          --hidden-size 5120 --lora-rank 16 --num-loras 4
      python -m autotune study create --runtime sglang --op-type shrink \\
          --chunk-sizes 16,128 --hidden-size 1024 --lora-rank 64 --num-slices 3
      python -m autotune study create --plan Qwen3-8B --runtime vllm \\
          --lora-rank 16 --max-loras 4
    """
    of_model = plan_model is not None or serving.trace is not None
    problem, serving = adapters_in_place(problem, serving, of_model)
    if (plan := serving.planned(plan_model, dtype, "--plan")) is not None:
        serving.refuse_problem("--plan" if serving.trace is None else "--trace", problem)
        wanted = api.of_plan(plan, making.request())
    else:
        serving.refuse("--plan", but=names_of(ProblemFlags))
        wanted = api.of_problems(problem.read().with_sizes({}, problem.topk_ids), making.request())
    for note in wanted.notes:
        tell(f"Note: {note}.")
    storage = open_storage(making.storage, create=True)
    with working("making the studies"):
        names = wanted.create(storage, skip_if_exists)
        if (behind := wanted.behind(storage)) is not None:
            wanted, names = behind, behind.create(storage, skip_if_exists=True)
    if count := wanted.still_to_follow:
        tell(f"{count} more studies follow from what these decide: run this command again then, with --skip-if-exists.")
    if wanted.plan_name is not None:
        tell(f"Run them with: study run --plan {wanted.plan_name}")
    say(json.dumps(names) if as_json else "\n".join(names))
    if wanted.plan_name is None:
        for note in serving_notes(studies.load(storage, name) for name in names):
            tell(note)
