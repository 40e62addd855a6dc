"""Prints the studies of a storage as JSON, for docs/data: what the run_*.sh scripts keep of what they measured.

PYTHONPATH=. python docs/dump_studies.py URL [--trials] [--one-a-group]
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from autotune.report.results import study_json
from autotune.study import studies
from autotune.study.storage import open_storage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of the storage")
    parser.add_argument("--trials", action="store_true", help="with every trial and finalist, which few tables need")
    parser.add_argument("--one-a-group", action="store_true", help="finished groups only, one member of each")
    arguments = parser.parse_args()
    storage = open_storage(arguments.url)
    found: dict[str, dict[str, Any]] = {}
    for item in (studies.load(storage, name) for name in studies.names(storage)):
        data = study_json(item)
        if not arguments.trials:
            data["trials"] = []
            if data["result"]:
                data["result"] = data["result"] | {"finalists": []}
        if not arguments.one_a_group:
            found[item.name] = data
        elif group := item.group_result:
            found[group.group] = data
    print(json.dumps({"studies": list(found.values())}))


if __name__ == "__main__":
    main()
