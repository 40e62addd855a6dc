#!/usr/bin/env bash
# Tunes csgmv kernels for Qwen3-Embedding-0.6B, the shapes of SGLang's PR 20391, on this machine's GPU, and times the
# whole: bash docs/run_csgmv.sh OUT_DIR. SOURCE=served takes the installed SGLang's own kernels, else it is ours; it then
# holds the files against no folder, and for SECONDS_LEFT against many other configs (whole spaces of the studies WHOLE).
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
    --intermediate-size 3072 --rank 64 --chunk-sizes 16,32,64,128 --total-tokens 30720 --dtype float16 --save-json-dir "$out/tuned" --json-overwrite
end=$(date +%s.%N)
export PYTHONPATH=.:${PYTHONPATH:-}
python3 docs/dump_studies.py "$AUTOTUNE_STORAGE" >"$out/studies.json"
if [ "$source" = served ]; then
    python3 docs/run_served.py never-slower "$AUTOTUNE_STORAGE" "$out/tuned" "$out/never_slower.json"
    python3 docs/run_served.py regret "$AUTOTUNE_STORAGE" "$out/regret.json" --whole "${WHOLE:-*}" \
        --seconds "${SECONDS_LEFT:-120}"
fi
python3 - "$out" "$start" "$end" <<'PYTHON'
import json, sys
from pathlib import Path

out, start_s, end_s = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
found = {"wall_s": round(end_s - start_s, 1), **json.loads((out / "studies.json").read_text())}
for part in ("never_slower", "regret"):
    if (file := out / f"{part}.json").exists():
        found[part] = json.loads(file.read_text())["rows"]
(out / "csgmv.json").write_text(json.dumps(found))
PYTHON
rm -rf "$out/cache" "$out/studies.json"
