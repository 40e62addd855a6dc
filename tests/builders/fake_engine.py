"""An engine that measures nothing: its process makes times up from its job and its environment.

Run as a program it reads a job and writes a result; `FakeEngine` is what `bench serve` runs it by.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from cattrs.preconf.json import make_converter

from autotune.servers.engine import Answer, EngineJob, EngineResult, KernelTime, PhaseResult

FOLDER_VARIABLE = "FAKE_CONFIG_FOLDER"
MOOD = "FAKE_ENGINE"
"""A factor of LoRA's time, or what goes wrong: ``dies``, ``hangs``, ``ignores the folder``, ``compiles``, ...
"""

OFF_MS = 5.0


class FakeEngine:
    package = "click"
    folder_variable = FOLDER_VARIABLE

    def command(self, job: Path, result: Path) -> list[str]:
        return [sys.executable, __file__, str(job), str(result)]

    def folder_read(self, log: str) -> set[Path]:
        return {Path(line.removeprefix("read ")) for line in log.splitlines() if line.startswith("read ")}


def run(job: EngineJob, starts: Path) -> EngineResult:
    """Times by what the process was given; every start is counted in a file beside the job."""
    with starts.open("a") as file:
        file.write(f"{job.lora}\n")
    mood, folder = os.environ.get(MOOD, ""), os.environ.get(FOLDER_VARIABLE)
    if mood == "dies":
        print("CUDA out of memory")
        sys.exit(3)
    if mood == "hangs":
        time.sleep(600)
    if folder and job.lora and mood != "ignores the folder":
        for file_read in sorted(Path(folder).glob("*.json")):
            print(f"read {file_read}")
    lora_ms = 0.0 if job.lora is None else 0.5 if not job.lora.used else 1.0 if folder else 2.0
    if mood.replace(".", "").isdecimal():
        lora_ms *= float(mood)
    drift_ms = 0.01 * len(starts.read_text().splitlines())
    times_ms = (OFF_MS + lora_ms + drift_ms,) * job.repeats
    kernels = (KernelTime("_lora_shrink_kernel", 36, 1e3 * lora_ms),) if job.lora and job.lora.used else ()
    phases = tuple(PhaseResult(phase.name, times_ms, (100.0,) * job.repeats, kernels) for phase in job.phases)
    last = 3 if mood == "says otherwise" else 2
    answers = (Answer((1, last), ({1: -0.1}, {2: -0.5, 3: -0.75})),) * 4
    compiled = ("_lora_expand_kernel",) if mood == "compiles" else ()
    return EngineResult("NVIDIA H200", {"fake": "1.0"}, 1.0, phases, compiled, answers)


if __name__ == "__main__":
    converter = make_converter()
    job_file, result_file = map(Path, sys.argv[1:])
    found = run(converter.loads(job_file.read_text(), EngineJob), job_file.parents[1] / "starts.txt")
    result_file.write_text(converter.dumps(found))
