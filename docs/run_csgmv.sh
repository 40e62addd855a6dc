#!/usr/bin/env bash
# Tunes csgmv kernels for Qwen3-Embedding-0.6B, the shapes of SGLang's PR 20391, on this machine's GPU, and times the
# whole: bash docs/run_csgmv.sh OUT_DIR. SOURCE=served takes the installed SGLang's own kernels, else it is ours. Each is
# timed on what it is timed on by default: ours on prompts of one adapter, SGLang's on prompts and decode batches of a
# pool of 8. (WORKLOAD=prefill NUM_LORAS=1 takes those prompts for SGLang's as well, as the runs in docs/data did.)
# Of SGLang's it then holds the files against no folder, each kind of batches by itself, and for SECONDS_LEFT against
# many other configs (whole spaces of the studies WHOLE).
# SGLang brings configs for these shapes on an H200: for the default tiles that the PR starts from, move its folder
# csgmv_configs away meanwhile. Moved back, `run_served.py never-slower STORAGE OUT_DIR/tuned against_brought.json`
# holds the files against them: `dump_studies.py --rows` takes its rows along. Rows of a folder that was tuned with that one
# in its place go by tuned_beside_brought.json.
# Copy OUT_DIR/csgmv.json to docs/data/csgmv-GPU.json for make_results.py, or to csgmv-GPU-served.json.
set -euo pipefail
source=${SOURCE:-builtin}
mkdir -p "$1"
out=$(cd "$1" && pwd)
export AUTOTUNE_STORAGE="sqlite:///$out/csgmv.db"
# Nothing compiled before may help.
export AUTOTUNE_CACHE_DIR="$out/cache"
rm -f "$out"/csgmv.db*
start=$(date +%s.%N)
python3 -m autotune tune --source "$source" --runtime sglang --hidden-size 1024 --qkv-output-dim 2048,1024 \
    --intermediate-size 3072 --rank 64 --chunk-sizes 16,32,64,128 --total-tokens 30720 --dtype float16 ${WORKLOAD:+--workload "$WORKLOAD"} \
    ${NUM_LORAS:+--num-loras "$NUM_LORAS"} --save-json-dir "$out/tuned" --json-overwrite
end=$(date +%s.%N)
export PYTHONPATH=.:${PYTHONPATH:-}
rows=()
if [ "$source" = served ]; then
    python3 docs/run_served.py never-slower "$AUTOTUNE_STORAGE" "$out/tuned" "$out/never_slower.json"
    python3 docs/run_served.py regret "$AUTOTUNE_STORAGE" "$out/regret.json" --whole "${WHOLE:-*}" \
        --seconds "${SECONDS_LEFT:-120}"
    rows=(--rows "$out/never_slower.json" "$out/regret.json")
fi
python3 docs/dump_studies.py "$AUTOTUNE_STORAGE" --wall-s "$start" "$end" "${rows[@]}" >"$out/csgmv.json"
rm -rf "$out/cache"
