#!/usr/bin/env bash
# Records whole spaces of the installed server's own kernels, for replays and for the benchmark of searches:
# bash docs/run_record.sh OUT_DIR. SERVER=sglang takes SGLang's, else it is vLLM's. SECONDS_LEFT ends it before the next
# space; the spaces are in an order that has every rank, number of slices and size early. The benchmark then reads them:
# python -m autotune bench search --recorded OUT_DIR.
set -euo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
end=$((SECONDS + ${SECONDS_LEFT:-180}))
sweep() {
    if [ "$SECONDS" -lt "$end" ]; then
        python3 -m autotune bench sweep --source served --dtype float16 --trials 40 --save-recording "$out" "$@" | tail -n 1
    fi
}
if [ "${SERVER:-vllm}" = sglang ]; then
    # Recordings have prompts of one adapter.
    server=(--runtime sglang --workload prefill --total-tokens 30720 --num-loras 1)
    sweep "${server[@]}" --op-type expand --chunk-sizes 16 --slice-widths 4096,1024,1024 --num-slices 3 --lora-rank 16
    sweep "${server[@]}" --op-type shrink --chunk-sizes 16 --hidden-size 4096 --num-slices 3 --lora-rank 16
    sweep "${server[@]}" --op-type expand --chunk-sizes 128 --slice-widths 4096 --num-slices 1 --lora-rank 64
    exit
fi
expand() {
    sweep --op-type lora_expand --batch-size "$1" --num-slices "$2" --hidden-size "$3" --lora-rank "$4" --num-loras 4
}
shrink() {
    sweep --op-type lora_shrink --batch-size "$1" --num-slices "$2" --hidden-size "$3" --lora-rank "$4" --num-loras 4
}
expand 16 3 4096 16
expand 8192 1 4096 64
expand 256 2 12288 16
shrink 64 3 4096 16
expand 1024 3 4096 64
shrink 8192 1 4096 16
expand 64 1 4096 16
expand 16 2 12288 64
