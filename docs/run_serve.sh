#!/usr/bin/env bash
# Times vLLM's own engine with and without a folder of configs, on this machine's GPU and in the engine's environment:
# bash docs/run_serve.sh OUT_DIR FOLDER. Copy OUT_DIR/serve-*.json into docs/data for make_results.py; ROUNDS=3 for more than
# one process of each variant. Rounds are kept in the tool's cache folder: the same command goes on where it was.
set -euo pipefail
mkdir -p "$1"
python3 -m autotune bench serve Qwen3-8B --dir "$2" --lora-rank 16 --max-loras 4 --decode 1,16,64 --prefill 8x1024 \
    --rounds "${ROUNDS:-1}" --html "$1/serve.html" --json >"$1/serve.json"
python3 - "$1" <<'PYTHON'
import json, sys
from pathlib import Path

out = Path(sys.argv[1])
run = json.loads((out / "serve.json").read_text())
run["note"] = "Qwen3-8B's shape with random weights, rank 16, 4 random adapters, all in use; the folder was tuned on the built-in kernels."
(out / "serve-vllm.json").write_text(json.dumps(run))
PYTHON
