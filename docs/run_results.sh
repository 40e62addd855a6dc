#!/usr/bin/env bash
# Tunes vLLM's dense kernels and sweeps whole spaces on this machine's GPU: bash docs/run_results.sh OUT_DIR. Copy
# OUT_DIR/sweep-*.json to docs/data, OUT_DIR/studies.json to docs/data/studies-GPU.json for make_results.py.
set -euo pipefail
out=$1
export AUTOTUNE_STORAGE="sqlite:///$out/results.db"
tune() { python3 -m autotune study create --dtype float16 --num-loras "$1" --op-type "$2" "${@:3}"; }
tune 4 lora_shrink --batch-size 16 --hidden-size 5120 --lora-rank 16
tune 4 lora_expand --batch-size 16 --hidden-size 5120 --lora-rank 16 --expand-add-inputs 0
tune 4 lora_expand --batch-size 16 --hidden-size 5120 --lora-rank 16 --expand-add-inputs 1
tune 8 lora_shrink --m-values 1024,8192 --hidden-size 8192 --lora-rank 64 --num-slices 2
python3 -m autotune study run
python3 -m autotune study export --dir "$out/tuned"
PYTHONPATH=.:${PYTHONPATH:-} python3 docs/dump_studies.py "$AUTOTUNE_STORAGE" --trials >"$out/studies.json"

sweep() { python3 -m autotune bench sweep --op-type lora_shrink --dtype float16 --num-loras 8 --json "$@"; }
sweep --batch-size 8192 --hidden-size 8192 --lora-rank 64 --num-slices 2 >"$out/sweep-m8192.json"
if [ "${SHORT:-}" = "" ]; then
    sweep --batch-size 64 --hidden-size 4096 --lora-rank 64 --num-slices 3 >"$out/sweep-m64.json"
fi
