#!/usr/bin/env bash
# Tunes a whole model for both servers on this machine's GPU, from nothing to checked files: bash docs/run_plan.sh OUT_DIR.
# Copy OUT_DIR/plan-*.json into docs/data for make_results.py. TIMEOUT=10m bounds each server's part.
set -euo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
model=(--model Qwen3-8B --lora-rank 16 --max-loras 4)
for runtime in ${RUNTIMES:-vllm sglang}; do
    export AUTOTUNE_STORAGE="sqlite:///$out/$runtime.db" AUTOTUNE_CACHE_DIR="$out/cache-$runtime"
    rm -rf "$out/$runtime.db" "${out:?}/$runtime" "$AUTOTUNE_CACHE_DIR"
    start=$(date +%s.%N)
    python3 -m autotune tune --runtime "$runtime" "${model[@]}" ${TIMEOUT:+--timeout "$TIMEOUT"} --save-json-dir "$out/$runtime"
    end=$(date +%s.%N)
    checked=0
    python3 -m autotune config check "$out/$runtime" --runtime "$runtime" "${model[@]}" >"$out/check-$runtime.txt" || checked=$?
    cat "$out/check-$runtime.txt"
    python3 -m autotune plan Qwen3-8B --runtime "$runtime" "${model[@]:2}" --json >"$out/$runtime-plan.json"
    python3 - "$out" "$runtime" "$start" "$end" "$checked" <<'PYTHON'
import json, os, sys
from pathlib import Path

from autotune import study
from autotune.report.results import study_json
from autotune.storage import open_storage

out, runtime, start_s, end_s, check = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
storage = open_storage(os.environ["AUTOTUNE_STORAGE"])
studies = [study_json(study.load(storage, name)) for name in study.names(storage)]
plan = json.loads((out / f"{runtime}-plan.json").read_text())
# The tables need neither the trials nor how the race of the finalists went, and there are many studies.
for item in studies:
    item["trials"] = []
    if item["result"]:
        item["result"]["finalists"] = []
found = {"wall_s": round(end_s - start_s, 1), "check": check, "plan": plan, "studies": studies}
(out / f"plan-{runtime}.json").write_text(json.dumps(found))
PYTHON
    rm -r "$AUTOTUNE_CACHE_DIR"
done
