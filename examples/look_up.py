"""Says what a server launches for each shape of a model with a folder of files, and whose config that is; needs no GPU.

python examples/look_up.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from autotune import api


def main(folder: Path) -> None:
    serving = api.Serving("sglang", tp=1, rank=64, max_loras=1)
    plan = api.plan("Qwen3-Embedding-0.6B", serving, api.Batches(chunk_sizes=(16,)), dtype="float16")
    for entry in plan.entries:
        found = api.look_up(folder, entry.call)
        print(f"{entry.call.op} of {', '.join(entry.layers)}: {found.origin}, {found.config}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
