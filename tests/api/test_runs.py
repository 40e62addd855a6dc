"""From studies to results and files, from Python, on recorded spaces."""

from __future__ import annotations

import json
from pathlib import Path

from autotune import api

URL = "sqlite:///studies.db"
SHRINK = {"dtype": "float16", "batch_size": 16, "hidden_size": 5120, "lora_rank": 16, "num_loras": 4}


def test_studies_are_run_once_and_exported() -> None:
    storage = api.open_storage(URL, create=True)
    (name,) = api.of_problems(api.Problems("lora_shrink", SHRINK), api.Request(backend="replay")).create(storage)
    options = api.RunOptions(URL, sampler="random", stop="none")
    assert api.run(storage, api.find(storage), options, api.Budget(trials=4)) == []
    (study,) = api.find(storage)
    assert study.result is not None
    trials = len(study.study.trials)
    assert api.run(storage, [study], options, api.Budget(trials=8)) == []
    assert len(api.find_one(storage, name).study.trials) == trials, "what is finished stays as it is"
    report = api.export([study], Path("tuned"))
    table = json.loads(Path("tuned/NVIDIA_H200_SHRINK.json").read_text())
    assert table["5"]["1"]["16"]["5120"]["16"]["block_n"] == study.result.decision.config["block_n"]
    assert report.proofs
    api.write_csv([study], Path("all.csv"))
    assert len(Path("all.csv").read_text().splitlines()) == 1 + trials
