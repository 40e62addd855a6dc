#!/usr/bin/env bash
# Tunes the MoE groups that docs/results.md shows, on this machine's GPU: bash docs/run_moe.sh OUT_DIR. Copy
# OUT_DIR/moe.json into docs/data for make_results.py.
set -euo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
export AUTOTUNE_STORAGE="sqlite:///$out/moe.db"
# The one-shot path is what a server runs at these ranks; the four ops of the other are what larger ranks would run.
tune() {
    for path in one-shot two-kernel; do
        python3 -m autotune tune --source builtin --op-type fused_moe_lora --path "$path" --save-json-dir "$out/$path" --json-overwrite "$@"
    done
}
tune --hidden-size 8192 --num-experts 8 --top-k-num 2 --moe-intermediate-size 14336 --lora-rank 64 --num-loras 8 \
    --m-values 64
for rank in 16 64; do
    tune --hidden-size 2048 --num-experts 128 --top-k-num 8 --moe-intermediate-size 768 --lora-rank "$rank" \
        --num-loras 4 --dtype bfloat16 --m-values 1,16,64,512,4096
done
PYTHONPATH=.:${PYTHONPATH:-} python3 docs/dump_studies.py "$AUTOTUNE_STORAGE" --one-a-group >"$out/moe.json"
