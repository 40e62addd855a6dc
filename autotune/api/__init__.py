"""Offers the tool from Python: plan a model, make and run studies, read results, write and check files.

The command line does its work by these functions. Each is loaded when it is first asked for, so that a plan or a check
waits for nothing that measures. A model, from its plan to its files::

    serving = api.Serving("vllm", tp=1, rank=16, max_loras=4)
    wanted = api.of_plan(api.plan("Qwen3-8B", serving), api.Request())
    storage = api.open_storage("sqlite:///autotune.db", create=True)
    wanted.create(storage, skip_if_exists=True)
    chosen = api.find(storage, plan_name=wanted.plan_name)
    api.run(storage, chosen, api.RunOptions("sqlite:///autotune.db"), api.Budget(trials=100))
    api.export(chosen, Path("tuned"), required=api.required_by(chosen, wanted.plan_name))

To read what came of it, ``api.read("sqlite:///autotune.db")`` takes a URL and waits for neither Optuna nor a search.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune.api.files import check_export, export, look_up, look_up_builtin, write_csv
    from autotune.api.plans import plan, plan_of_trace
    from autotune.api.problems import Problems
    from autotune.api.reading import decided, raced, read, read_one, required_by, standing, worth
    from autotune.api.reports import page, report
    from autotune.api.runs import has_due, run
    from autotune.api.studies import (
        StudySet,
        find,
        find_one,
        of_block,
        of_plan,
        of_problems,
    )
    from autotune.plan.plan import Plan
    from autotune.plan.timed import all_timed_kernels, timed_kernels
    from autotune.run.options import Budget, RunOptions
    from autotune.servers.batches import Batches
    from autotune.servers.serving import Serving
    from autotune.study.describe import Request
    from autotune.study.storage import open_storage

__all__ = [
    "Batches",
    "Budget",
    "Plan",
    "Problems",
    "Request",
    "RunOptions",
    "Serving",
    "StudySet",
    "all_timed_kernels",
    "check_export",
    "decided",
    "export",
    "find",
    "find_one",
    "has_due",
    "look_up",
    "look_up_builtin",
    "of_block",
    "of_plan",
    "of_problems",
    "open_storage",
    "page",
    "plan",
    "plan_of_trace",
    "raced",
    "read",
    "read_one",
    "report",
    "required_by",
    "run",
    "standing",
    "timed_kernels",
    "worth",
    "write_csv",
]

_MODULES = {
    "autotune.api.files": (
        "check_export",
        "export",
        "look_up",
        "look_up_builtin",
        "write_csv",
    ),
    "autotune.api.plans": ("plan", "plan_of_trace"),
    "autotune.api.problems": ("Problems",),
    "autotune.api.reports": ("page", "report"),
    "autotune.api.runs": ("has_due", "run"),
    "autotune.api.reading": ("decided", "raced", "read", "read_one", "required_by", "standing", "worth"),
    "autotune.api.studies": (
        "StudySet",
        "find",
        "find_one",
        "of_block",
        "of_plan",
        "of_problems",
    ),
    "autotune.plan.plan": ("Plan",),
    "autotune.plan.timed": ("all_timed_kernels", "timed_kernels"),
    "autotune.run.options": (
        "Budget",
        "RunOptions",
    ),
    "autotune.servers.batches": ("Batches",),
    "autotune.servers.serving": ("Serving",),
    "autotune.study.describe": ("Request",),
    "autotune.study.storage": ("open_storage",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
