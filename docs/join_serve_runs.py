"""Joins what runs of `bench serve` on several machines measured: each process beside LoRA off of its own run.

    PYTHONPATH=. python docs/join_serve_runs.py docs/data/serve-NAME.json [ROUNDS ...] [--without VARIANT:RUN ...]

ROUNDS is a folder of rounds as `bench serve` keeps them, also of a run that was cut short; its processes are added as
one more run to what the file has, and may lack phases that others have. All tables of the file are made again from its
processes. A new file has what `bench serve --json` prints, with a note on what was run, or of that gpu, versions,
variants and note alone.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

from cattrs.preconf.json import make_converter

from autotune.bench import evidence
from autotune.bench.rounds import FinishedProcess
from autotune.bench.serve_output import cell_to_json, process_to_json
from autotune.bench.serve_table import Cell, answers, compare, waiting
from autotune.bench.variants import DEFAULTS, OFF, UNUSED, Lora, Variant
from autotune.servers.engine import EngineJob, EngineResult
from autotune.servers.vllm.engine import VllmEngine

_CONVERTER = make_converter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("rounds", nargs="*", type=Path)
    parser.add_argument("--without", nargs="*", default=[], metavar="VARIANT:RUN")
    arguments = parser.parse_args()
    data = json.loads(arguments.file.read_text())
    left = [each for each in data.get("processes", []) if f"{each['variant']}:{each['run']}" not in arguments.without]
    same = [each for each in data.get("answers", []) if f"{each['variant']}:{each['run']}" not in arguments.without]
    run = max((each["run"] for each in left), default=0)
    for folder in arguments.rounds:
        run += 1
        finished = processes(folder, data["variants"])
        left += [{**process_to_json(each), "run": run} for each in finished]
        same += [{**asdict(each), "run": run} for each in answers(finished)]
    left = [without_machine(each) for each in left]
    data |= {"processes": left, "answers": same}
    ran = [variant for variant in data["variants"] if any(each["variant"] == variant for each in left)]
    if alone := {each["run"] for each in left} - {each["run"] for each in left if each["variant"] == OFF}:
        raise SystemExit(f"no process with LoRA off is of run {alone.pop()}: leave its others out, too (--without)")
    by_phase = {
        phase: timed(left, phase) for phase in dict.fromkeys(p["name"] for each in left for p in each["phases"])
    }
    found = [
        cell(there, variant, phase)
        for variant in ran
        for phase, there in by_phase.items()
        if any(each["variant"] == variant for each in there)
    ]
    data["cells"] = [cell_to_json(each) for each in found]
    data["verdicts"] = [*waiting(found), *verdicts(data)]
    arguments.file.write_text(json.dumps(data))


def timed(found: Sequence[Mapping[str, Any]], phase: str) -> list[Mapping[str, Any]]:
    """Returns the processes that ran a phase, of runs in which one with LoRA off did, too."""
    there = [each for each in found if _phase(each, phase)]
    runs = {each["run"] for each in there if each["variant"] == OFF}
    return [each for each in there if each["run"] in runs]


def processes(folder: Path, variants: Mapping[str, str]) -> list[FinishedProcess]:
    """Reads the processes of a run in the order in which they ended."""
    engine, found = VllmEngine(), []
    for file in sorted(folder.glob("*/round*.json"), key=lambda file: file.stat().st_mtime):
        result = replace(
            _CONVERTER.loads(file.read_text(), EngineResult), log=file.with_suffix(".log").read_text(errors="replace")
        )
        job = _CONVERTER.loads(file.with_suffix(".job").read_text(), EngineJob)
        name, turn = file.parent.name.partition("-")[0], int(file.stem.removeprefix("round"))
        lora: Lora = "off" if job.lora is None else "used" if job.lora.used else "unused"
        variant = Variant(name, variants[name], lora)
        found.append(FinishedProcess(turn - 1, variant, result, evidence.of(engine, result)))
    return found


def without_machine(process: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a process showed, with its folder and what is in there named without their place on a machine."""
    line, files = process["plugin"], ["/".join(Path(file).parts[-2:]) for file in process["files_read"]]
    return {**process, "files_read": files, "plugin": line and re.sub(r"(?<= )/[^ ,]*/(?=[^/ ,]+/[^/ ,]+)", "", line)}


def cell(found: Sequence[Mapping[str, Any]], variant: str, phase: str) -> Cell:
    """Makes one variant's cell of one phase: its milliseconds, and those above LoRA off of the same run."""
    own = [each for each in found if each["variant"] == variant]
    medians_ms = tuple(_ms(each, phase) for each in own)
    profiled = _phase(own[0], phase)
    defaults_ms = [_ms(each, phase) for each in found if each["variant"] == DEFAULTS]
    return Cell(
        variant=variant,
        phase=phase,
        medians_ms=medians_ms,
        tokens_per_s=median(rate for each in own for rate in _phase(each, phase)["tokens_per_s"]),
        above_off_ms=median(_ms(each, phase) - _off_ms(found, each["run"], phase) for each in own),
        lora_kernels_ms=sum(kernel["time_us"] for kernel in profiled["lora_kernels"]) / 1e3,
        launches=sum(kernel["launches"] for kernel in profiled["lora_kernels"]),
        profiled_steps=profiled["profiled_steps"],
        gpu_ms=profiled.get("gpu_ms"),
        against_default=None if variant in (DEFAULTS, UNUSED, OFF) else compare(medians_ms, defaults_ms),
    )


def _off_ms(found: Sequence[Mapping[str, Any]], run: int, phase: str) -> float:
    return median(_ms(each, phase) for each in found if each["variant"] == OFF and each["run"] == run)


def _ms(process: Mapping[str, Any], phase: str) -> float:
    ms: float = median(_phase(process, phase)["ms"])
    return ms


def _phase(process: Mapping[str, Any], phase: str) -> Mapping[str, Any]:
    """Returns what a process showed of a phase; nothing if it did not run it."""
    return next((dict(each) for each in process["phases"] if each["name"] == phase), {})


def verdicts(data: Mapping[str, Any]) -> list[str]:
    """Says what is faster, what was compiled while phases were timed, and whose answers are the same."""
    lines = []
    for variant in dict.fromkeys(each["variant"] for each in data["cells"] if each["against_default"]):
        for found in ("faster", "slower", "within the spread", "one round: not known"):
            cells = [c for c in data["cells"] if c["variant"] == variant and c["against_default"] == found]
            if cells:
                lines.append(f"{variant} beside the defaults, {found}: {', '.join(c['phase'] for c in cells)}")
    compiled = sorted({name for each in data["processes"] for name in each["jit_compiles"]})
    lines.append(f"compiled while phases were timed: {', '.join(compiled) or 'no Triton kernel'}")
    for each in data["answers"]:
        who = f"{each['variant']}, run {each['run']}: the same greedy answers as the defaults of its run to"
        gap = each["largest_gap"]
        apart = f"{gap:.4f} apart in log-probability" if gap else "equally likely"
        parted = "" if gap is None else f"; where they part, the two tokens are {apart}"
        lines.append(f"{who} {each['same']} of {each['prompts']} prompts{parted}")
    return lines


if __name__ == "__main__":
    main()
