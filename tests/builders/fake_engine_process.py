"""The process of the fake engine: reads a job, writes times that it makes up.

It imports the standard library alone, so that a start costs a test next to nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "FAKE_CONFIG_FOLDER"
MOOD = "FAKE_ENGINE"
"""A factor of LoRA's time, or what goes wrong: ``dies``, ``hangs``, ``ignores the folder``, ``compiles``, ...
"""

OFF_MS = 5.0

ROOT = Path(__file__).parents[2]


def run(job: dict[str, Any], starts: Path) -> dict[str, Any]:
    """Makes up the `EngineResult` of an `EngineJob`, both as JSON; counts every start in a file beside the job."""
    lora = job["lora"]
    used = lora is not None and lora["used"]
    with starts.open("a") as file:
        file.write(f"{lora}\n")
    mood, folder = os.environ.get(MOOD, ""), os.environ.get(FOLDER_VARIABLE)
    if mood == "dies":
        print("CUDA out of memory")
        sys.exit(3)
    if mood == "hangs":
        time.sleep(600)
    if folder and lora and mood != "ignores the folder":
        for file_read in sorted(Path(folder).glob("*.json")):
            print(f"read {file_read}")
    ours = os.environ.get("LORA_AUTOTUNE_KERNELS") == "1" or mood == "runs ours unasked"
    if ours and mood != "keeps the plug-in off":
        print(f"ours lora_shrink with files of {os.environ.get('LORA_AUTOTUNE_CONFIG_DIR')}")
    if trace := os.environ.get("LORA_AUTOTUNE_TRACE"):
        record(Path(trace), mood)
    ours = ours and mood not in ("keeps the plug-in off", "runs its own")
    lora_ms = 0.0 if lora is None else 0.5 if not used else 0.75 if ours else 1.0 if folder else 2.0
    if mood.replace(".", "").isdecimal():
        lora_ms *= float(mood)
    drift_ms = 0.01 * len(starts.read_text().splitlines())
    repeats = job["repeats"]
    kernel = {
        "name": "lora_shrink_kernel" if ours else "_lora_shrink_kernel",
        "source": "builtin" if ours else "fake",
        "launches": 72,
        "time_us": 1e3 * lora_ms,
    }
    measured = {
        "ms": [OFF_MS + lora_ms + drift_ms] * repeats,
        "tokens_per_s": [100.0] * repeats,
        "lora_kernels": [kernel] if used else [],
        "profiled_steps": 2,
        "gpu_ms": (OFF_MS + lora_ms) * (0.5 if mood == "waits" else 0.9),
    }
    last = 3 if mood == "says otherwise" else 2
    return {
        "gpu": "NVIDIA H200",
        "versions": {"fake": "1.0"},
        "start_s": 1.0,
        "phases": [{"name": phase["name"], **measured} for phase in job["phases"]],
        "jit_compiles": ["_lora_expand_kernel"] if mood == "compiles" else [],
        "answers": [{"tokens": [1, last], "logprobs": [{"1": -0.1}, {"2": -0.5, "3": -0.75}]}] * 4,
    }


def record(trace: Path, mood: str) -> None:
    """Records a layer's lookups and one batch, by the plug-in's own recorder, unless it is not to."""
    sys.path.insert(0, str(ROOT))
    from autotune.servers.plugin.tracer import Tracer
    from autotune.servers.trace_line import SeenLookup

    print(f"lora-autotune: LORA_AUTOTUNE_TRACE: what the server looks up is recorded in {trace}")
    if mood != "records nothing":
        made = Tracer(trace, "vllm")
        shrink = {"max_loras": 3, "num_slices": 1, "k": 64, "n": 8}
        expand = {"max_loras": 3, "num_slices": 1, "k": 8, "n": 64, "add_inputs": 1}
        for op, dims, details in (("shrink", shrink, ()), ("expand", expand, (("slice_widths", (64,)),))):
            seen = SeenLookup("vllm", "0.33.0", op, tuple(dims.items()), details, "bfloat16", "tokens")
            made.lookup(seen, 16, 0, is_captured=True)
        made.batch("tokens", 16)


if __name__ == "__main__":
    job_file, result_file = map(Path, sys.argv[1:])
    made_up = run(json.loads(job_file.read_text()), job_file.parents[1] / "starts.txt")
    result_file.write_text(json.dumps(made_up))
