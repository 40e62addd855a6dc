#!/usr/bin/env bash
# Tunes a model on the installed server's own kernels, then holds the files against no folder and against many other
# configs: bash docs/run_served.sh OUT_DIR. Copy OUT_DIR/served-*.json into docs/data for make_results.py.
# SERVER=sglang takes SGLang's, else it is vLLM's; SOURCE=both tunes ours beside them. AROUND: configs a lookup; WHOLE:
# names of studies whose space is measured whole, with commas between; SECONDS_LEFT bounds the last part; FLAGS: further
# ones of plan.
set -euo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
name=${MODEL:-Qwen3-8B}
read -ra more <<<"${FLAGS:-}"
serving=(--runtime "${SERVER:-vllm}" --lora-rank "${RANK:-16}" --max-loras "${ADAPTERS:-4}" --tp "${TP:-1}" "${more[@]}")
export AUTOTUNE_STORAGE="sqlite:///$out/studies.db" PYTHONPATH=.:${PYTHONPATH:-}
rm -rf "$out/studies.db" "$out/tuned"
start=$(date +%s.%N)
python3 -m autotune tune --source "${SOURCE:-served}" --model "$name" "${serving[@]}" --save-json-dir "$out/tuned" >"$out/tune.txt"
end=$(date +%s.%N)
checked=0
python3 -m autotune config check "$out/tuned" --model "$name" "${serving[@]}" || checked=$?
python3 -m autotune plan "$name" "${serving[@]}" --json >"$out/plan.json"
python3 docs/run_served.py never-slower "$AUTOTUNE_STORAGE" "$out/tuned" "$out/never_slower.json"
python3 docs/run_served.py regret "$AUTOTUNE_STORAGE" "$out/regret.json" --around "${AROUND:-300}" --whole "${WHOLE:-}" \
    --seconds "${SECONDS_LEFT:-900}"
python3 docs/dump_studies.py "$AUTOTUNE_STORAGE" --wall-s "$start" "$end" --check "$checked" --plan "$out/plan.json" \
    --rows "$out/never_slower.json" "$out/regret.json" >"$out/found.json"
of=$(python3 -c 'import json, sys
found = json.load(sys.stdin)
kernels = (study["spec"]["kernel"] for study in found["studies"])
print(next(kernel.partition("@")[2] for kernel in kernels if "@" in kernel), found["plan"]["model"]["name"], sep="-")' <"$out/found.json")
mv "$out/found.json" "$out/served-$of.json"
