"""Plans what a server will look up for a model. Nothing here needs Optuna, torch or a storage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autotune.model.shape import look_up
from autotune.plan import by_trace
from autotune.plan.plan import DEFAULT_DTYPE, Plan
from autotune.plan.plan import make as make_plan
from autotune.plan.roads import Road
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving


def plan_of_trace(path: Path, batches: Batches | None = None) -> Plan:
    """Lists the lookups that a running server was seen to make, with the weights of the batches that it ran.

    Args:
        path: The file that the server's processes wrote, by the environment variable LORA_AUTOTUNE_TRACE.
        batches: Sizes and the workload where a user chooses them.

    Raises:
        InputError: If the file is no trace of one server.
    """
    return by_trace.make(path, batches or Batches())


def plan(
    model: str,
    serving: Serving,
    batches: Batches | None = None,
    dtype: str = DEFAULT_DTYPE,
    overrides: Mapping[str, int] | None = None,
    road: Road = "auto",
) -> Plan:
    """Lists every lookup that a server makes for a model's LoRA layers, and the studies that tuning them takes.

    Args:
        model: A folder or its config.json, a preset, or a Hugging Face id.
        serving: The server's flags.
        batches: What batches it will run; None for its defaults.
        dtype: Of the adapters' weights.
        overrides: Fields of the model's config that differ from what it says.
        road: Where the lookups are from: the installed server's classes, or the tool's tables of them.

    Raises:
        InputError: If the model cannot be read, or cannot be served so.
    """
    return make_plan(look_up(model, overrides), serving, batches or Batches(), dtype, road)
