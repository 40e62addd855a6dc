#!/usr/bin/env bash
# Tunes the MoE groups that docs/results.md shows, on this machine's GPU: bash docs/run_moe.sh OUT_DIR. Copy
# OUT_DIR/moe.json into docs/data for make_results.py.
set -euo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
export AUTOTUNE_STORAGE="sqlite:///$out/moe.db"
tune() { python3 -m autotune tune --op-type fused_moe_lora --save-json-dir "$out/tuned" --json-overwrite "$@"; }
for rank in 16 64; do
    tune --hidden-size 2048 --num-experts 128 --top-k-num 8 --moe-intermediate-size 768 --lora-rank "$rank" \
        --num-loras 4 --dtype bfloat16 --m-values 1,16,64,512,4096
done
# What the server runs at this rank is the one-shot path: the two-kernel one is tuned for the figures only.
python3 -m autotune tune --op-type fused_moe_lora --path two-kernel --hidden-size 8192 --num-experts 8 --top-k-num 2 \
    --moe-intermediate-size 14336 --lora-rank 64 --num-loras 8 --m-values 64
python3 - "$out/moe.json" <<'PYTHON'
import json, os, sys

from autotune import study
from autotune.report.results import study_json
from autotune.storage import open_storage

storage = open_storage(os.environ["AUTOTUNE_STORAGE"])
one_a_group = {}
for item in (study.load(storage, name) for name in study.names(storage)):
    if item.group_result:
        one_a_group[item.group_result["group"]] = study_json(item) | {"trials": [], "group_result": item.group_result}
with open(sys.argv[1], "w") as file:
    json.dump(list(one_a_group.values()), file)
PYTHON
