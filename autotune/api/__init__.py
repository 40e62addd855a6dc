"""The tool from Python: plan a model, make and run studies, read results, write and check files.

The command line does its work by these functions.

    serving = api.Serving("vllm", tp=1, rank=16, max_loras=4)
    wanted = api.of_plan(api.plan("Qwen3-8B", serving), api.Request())
"""

from __future__ import annotations

from autotune.api.files import check_export, export, look_up, write_csv
from autotune.api.problems import Problems
from autotune.api.studies import StudySet, find, find_one, of_block, of_plan, of_problems, plan, required_by, worth
from autotune.plan.plan import Plan
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from autotune.study.describe import Request

__all__ = [
    "Batches",
    "Plan",
    "Problems",
    "Request",
    "Serving",
    "StudySet",
    "check_export",
    "export",
    "find",
    "find_one",
    "look_up",
    "of_block",
    "of_plan",
    "of_problems",
    "plan",
    "required_by",
    "worth",
    "write_csv",
]
