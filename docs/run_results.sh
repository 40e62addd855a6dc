#!/usr/bin/env bash
# Measures what docs/results.md shows, on this machine's GPU: bash docs/run_results.sh OUT_DIR
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
python3 -m autotune study list --json | python3 -c 'import json, sys; print("\n".join(s["name"] for s in json.load(sys.stdin)))' |
    while read -r name; do python3 -m autotune study show "$name" --json; done |
    python3 -c '
import json, sys
decoder, text, studies = json.JSONDecoder(), sys.stdin.read().strip(), []
while text:
    study, end = decoder.raw_decode(text)
    studies.append(study)
    text = text[end:].strip()
print(json.dumps(studies))' >"$out/studies.json"
