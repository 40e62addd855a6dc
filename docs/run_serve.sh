#!/usr/bin/env bash
# Times vLLM's own engine with and without a folder of configs, on this machine's GPU and in the engine's environment:
# bash docs/run_serve.sh OUT_DIR FOLDER [qwen3-8b | llama-3.1-8b | qwen3-30b-a3b]. Copy OUT_DIR/serve-*.json into docs/data for
# make_results.py; ROUNDS=3 for more than one process of each variant. Rounds are kept in the tool's cache folder: the same
# command goes on where it was. docs/join_serve_runs.py adds what another run measured, also one that was cut short.
set -euo pipefail
mkdir -p "$1"
name=${3:-qwen3-8b}
case $name in
qwen3-8b)
    flags=(Qwen3-8B --lora-rank 16 --max-loras 4)
    about="Qwen3-8B's shape with random weights, rank 16, 4 random adapters, all in use"
    ;;
llama-3.1-8b)
    flags=(Llama-3.1-8B --lora-rank 64 --max-loras 8)
    about="Llama-3.1-8B's shape with random weights, rank 64, 8 random adapters, all in use"
    ;;
qwen3-30b-a3b)
    flags=(Qwen3-30B-A3B --lora-rank 16 --max-loras 4 --set num_hidden_layers=12)
    about="Qwen3-30B-A3B's shape with 12 layers and random weights, rank 16, 4 random adapters, all in use"
    ;;
*)
    echo "model: got $name, allowed: qwen3-8b, llama-3.1-8b, qwen3-30b-a3b" >&2
    exit 2
    ;;
esac
python3 -m autotune bench serve "${flags[@]}" --dir "$2" --decode 1,16,64 --prefill 8x1024 \
    --rounds "${ROUNDS:-1}" --html "$1/serve.html" --json >"$1/serve.json"
python3 - "$1" "$2" "$name" "$about" <<'PYTHON'
import json, sys
from pathlib import Path

from autotune.servers import places

out, folder, name, about = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]
kernels = sorted(set(places.sources(folder).values()))
run = json.loads((out / "serve.json").read_text())
run["note"] = f"{about}; the folder's files were tuned on the kernels of: {', '.join(kernels) or 'not known'}."
(out / f"serve-{name}.json").write_text(json.dumps(run))
PYTHON
