"""Plans a model, tunes it, writes the files that its server loads, and a report; without a GPU on recorded times.

python examples/tune_a_model.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from autotune import api


def main(folder: Path, trials: int = 100) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{folder}/studies.db"
    serving = api.Serving("sglang", tp=1, rank=64, max_loras=1)
    plan = api.plan("Qwen3-Embedding-0.6B", serving, api.Batches(chunk_sizes=(16,)), dtype="float16")
    wanted = api.of_plan(plan, api.Request())
    storage = api.open_storage(url, create=True)
    wanted.create(storage, skip_if_exists=True)

    chosen = api.find(storage, plan_name=wanted.plan_name)
    for failure in api.run(storage, chosen, api.RunOptions(url), api.Budget(trials=trials)):
        print(failure)

    finished = [study for study in api.find(storage, plan_name=wanted.plan_name) if study.result]
    api.export(finished, folder / "tuned", required=api.required_by(finished, wanted.plan_name or ""))
    found = api.report(finished)
    (folder / "report.html").write_text(api.page(found, finished))
    print(found.headline)
    for saving in found.savings:
        print(f"{found.level} {saving.size}: {saving.saved_us / 1000:.1f} ms less, {saving.speedup:.2f}x as fast")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
