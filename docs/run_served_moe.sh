#!/usr/bin/env bash
# Tunes groups of vLLM's own fused MoE LoRA for Qwen3-30B-A3B's experts, where vLLM can be imported, and holds the files
# against no folder: bash docs/run_served_moe.sh OUT_DIR. TP and RANK2: of the two-kernel group, which is fully sharded.
# Without a folder a server takes the base model's tiles. The real package brings them; laid-out modules need its files:
#   unzip vllm-VERSION.whl 'vllm/model_executor/layers/fused_moe/configs/E=128,N=*,device_name=NVIDIA_H200.json' -d SERVER
set -euo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
export AUTOTUNE_STORAGE="sqlite:///$out/moe.db" PYTHONPATH=.:${PYTHONPATH:-}
rm -rf "$out/moe.db" "$out/one-shot" "$out/two-kernel"
package=$(python3 -c 'import importlib.util as u; print(u.find_spec("vllm").submodule_search_locations[0])')
[ -d "$package/model_executor/layers/fused_moe/configs" ] \
    || echo "$package has no tiles of base models: no folder is timed as vLLM's rule for experts without a file"
experts=(--op-type fused_moe_lora --source served --dtype bfloat16 --hidden-size 2048 --num-experts 128 --top-k-num 8
    --num-loras 4)
tune() {
    python3 -m autotune tune "${experts[@]}" --json-overwrite "$@"
}
for rank in 16 64; do
    tune --moe-intermediate-size 768 --lora-rank "$rank" --m-values 16,64,256,1024,8192 --save-json-dir "$out/one-shot" \
        | tee "$out/one-shot-$rank.txt"
done
if [ "${TP:-2}" -gt 1 ]; then
    tune --moe-intermediate-size "$((768 / ${TP:-2}))" --lora-rank "${RANK2:-64}" --fully-sharded --tp "${TP:-2}" \
        --m-values 16,1024 --trials "${TRIALS:-60}" --save-json-dir "$out/two-kernel" | tee "$out/two-kernel.txt"
fi
python3 docs/dump_studies.py "$AUTOTUNE_STORAGE" --one-a-group >"$out/moe-served.json"
python3 docs/run_alignment.py "$out/moe-alignment.json"
python3 docs/run_served.py never-slower "$AUTOTUNE_STORAGE" "$out/one-shot" "$out/moe-never-slower.json"
