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
    PYTHONPATH=.:${PYTHONPATH:-} python3 docs/dump_studies.py "$AUTOTUNE_STORAGE" --wall-s "$start" "$end" \
        --check "$checked" --plan "$out/$runtime-plan.json" >"$out/plan-$runtime.json"
    rm -rf "$AUTOTUNE_CACHE_DIR"
done
