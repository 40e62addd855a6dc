"""Prints the studies of a storage as JSON, for docs/data: what the run_*.sh scripts keep of what they measured.

    PYTHONPATH=. python docs/dump_studies.py URL [--trials] [--one-a-group] [--wall-s START END] [--check CODE]
        [--plan FILE] [--rows FILE...] [--beside FILE]

What else a script found stands beside the studies: how long its command took, what `config check` ended with, the plan
as `plan --json` prints it, and the rows of files of docs/run_served.py, each under its file's name. `--beside` adds the
studies to an earlier print, of other kernels, and keeps the rest of that.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from autotune import api
from autotune.report.results import study_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of the storage")
    parser.add_argument("--trials", action="store_true", help="with every trial and finalist, which few tables need")
    parser.add_argument("--one-a-group", action="store_true", help="finished groups only, one member of each")
    parser.add_argument("--wall-s", type=float, nargs=2, metavar=("START", "END"), help="seconds since 1970")
    parser.add_argument("--check", type=int, metavar="CODE", help="exit code of config check")
    parser.add_argument("--plan", type=Path, metavar="FILE")
    parser.add_argument("--rows", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--beside", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    data: dict[str, Any] = {} if arguments.beside is None else json.loads(arguments.beside.read_text())
    found = studies_of(arguments.url, arguments.trials, arguments.one_a_group)
    kernels = {study["spec"]["kernel"] for study in found}
    beside = [study for study in data.get("studies", []) if study["spec"]["kernel"] not in kernels]
    if arguments.wall_s is not None:
        key = "wall_s" if arguments.beside is None else "beside_wall_s"
        data[key] = round(arguments.wall_s[1] - arguments.wall_s[0], 1)
    if arguments.check is not None:
        data["check"] = arguments.check
    if arguments.plan is not None:
        data["plan"] = json.loads(arguments.plan.read_text())
    data["studies"] = beside + found
    data |= {file.stem: json.loads(file.read_text())["rows"] for file in arguments.rows}
    print(json.dumps(data))


def studies_of(url: str, with_trials: bool, one_a_group: bool) -> list[dict[str, Any]]:
    """Returns the studies of a storage, or of finished groups one member of each."""
    found: dict[str, dict[str, Any]] = {}
    for item in api.read(url):
        data = study_json(item)
        if not with_trials:
            data["trials"] = []
            if data["result"]:
                data["result"] = data["result"] | {"finalists": []}
        if not one_a_group:
            found[item.name] = data
        elif group := item.group_result:
            found[group.group] = data
    return list(found.values())


if __name__ == "__main__":
    main()
