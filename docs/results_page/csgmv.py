"""Writes the section on SGLang's kernels in docs/results.md: the shapes of PR 20391, with what that lists.

It reads what docs/run_csgmv.sh left in docs/data, GPU by GPU.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune.contract import source
from autotune.errors import one_of
from autotune.report.layers import COLUMNS, LayerResult, cells, layer_results, savings
from autotune.report.tables import us
from autotune.servers.sglang import own_keys
from autotune.servers.sglang.decoder_block import CsgmvLayer
from autotune.study.summary import StudySummary
from results_page import served
from results_page.runs import Run, machine_text, read
from results_page.tables import Table, markdown

QWEN3_EMBEDDING_0_6B = (
    CsgmvLayer("qkv", 1024, (2048, 1024, 1024)),
    CsgmvLayer("o", 2048, (1024,)),
    CsgmvLayer("gate_up", 1024, (3072, 3072)),
    CsgmvLayer("down", 3072, (1024,)),
)
TOKENS = 30_720
_CHUNK_SIZES = (16, 32, 64, 128)
_HALF_BYTES = 2

# What the PR lists for an H200, rank 64, fp16. Equal problems are one: the expand of down is that of o.
_LISTED_SPEEDUPS = {
    ("qkv", "shrink"): (1.98, 1.72, 2.56, 3.24),
    ("o", "shrink"): (1.96, 1.60, 2.00, 2.44),
    ("gate_up", "shrink"): (1.99, 1.66, 2.62, 3.22),
    ("down", "shrink"): (2.05, 1.65, 2.11, 2.64),
    ("qkv", "expand"): (1.41, 1.31, 1.30, 1.06),
    ("o", "expand"): (1.52, 1.38, 1.31, 1.09),
    ("gate_up", "expand"): (1.55, 1.39, 1.34, 1.10),
    ("down", "expand"): (1.52, 1.38, 1.31, 1.09),
}
_LISTED_TUNED_MS = {
    ("qkv", "shrink"): 0.071,
    ("o", "shrink"): 0.060,
    ("gate_up", "shrink"): 0.045,
    ("down", "shrink"): 0.075,
    ("qkv", "expand"): 0.721,
    ("o", "expand"): 0.150,
    ("gate_up", "expand"): 0.823,
    ("down", "expand"): 0.150,
}
"""At chunk size 128; no times are known for the others."""

_LISTED_GPU = "NVIDIA H200"
LISTED_COLUMNS = ("listed speed-up", "listed default us", "listed tuned us", "over listed default")

TOLD_ORDER = (
    " Ours were then told that an adapter's tokens stand in order and that it has the full rank, which the plug-in "
    "does not: its launches, which studies time since, take up to 23% more (qkv's shrink in chunks of 32; see the "
    "tables of the backend)."
)

AGAINST = {
    "never_slower": "",
    "against_brought": "The same entries, tuned with the files moved away that SGLang brings, beside those files: ",
    "tuned_beside_brought": "Tuned with those files in their place, as a user has them, beside them: ",
}
"""By what a race of entries is kept under, which entries they are."""


def section(data: Path) -> list[str]:
    """Writes the section on SGLang's kernels, on every GPU where they have been measured."""
    files = sorted(data.glob("csgmv-*.json"), reverse=True)
    if not files:
        return []
    lines = [line for file in files for line in _gpu_lines(data, read(file))]
    return ["", "## SGLang's csgmv kernels", "", MEANING, *lines]


def _gpu_lines(data: Path, run: Run) -> list[str]:
    """Makes one GPU's tables."""
    studies = run.studies
    layers, saved = (markdown(columns, rows) for columns, rows in tables(studies))
    note = ["", LISTED] if listed(studies) else []
    heading = f"### {studies[0].spec.environment.gpu}, {whose(studies)}"
    lines = ["", heading, "", f"Machine: {machine_text(studies[0])}.{_before_own_keys(studies)}{_told(run.about)}"]
    lines[-1] += _of_batches(studies)
    lines += ["", *layers, *note, "", *saved, "", took(run.about, studies)]
    for line in races(run.about):
        lines += ["", line]
    if len(run.about.get("regret", ())) > 1:
        lines += ["", served.against_the_best(run.about["regret"])]
    gpu = run.name.removeprefix("csgmv-")
    return [*lines, *_beside_plain_lines(data / f"plain-expand-{gpu}.json", studies)]


def races(about: Mapping[str, Any]) -> list[str]:
    """Sums up the races of entries against no folder, those on decode batches by themselves."""
    lines = []
    for key, which in AGAINST.items():
        rows = about.get(key, ())
        decode = [row for row in rows if "-decode-" in row.get("problem", "")]
        for raced, on in (([row for row in rows if row not in decode], ""), (decode, "On decode batches: ")):
            if raced:
                lines.append(f"{which}{on}{served.against_no_folder(raced)}")
    return lines


def _before_own_keys(studies: Sequence[StudySummary]) -> str:
    """Says so where our kernels were timed before they had parameters of their own."""
    for study in studies:
        call, result = study.spec.call, study.result
        if study.spec.source == source.BUILTIN and call and result:
            missing = [key for key in own_keys.of(call.op) if key not in result.decision.config]
            if missing:
                return f" Timed before the {call.op} had {one_of(missing)}."
    return ""


def _told(about: Mapping[str, Any]) -> str:
    """Says of our kernels what they were told when they were timed: the file of such a run has it."""
    return TOLD_ORDER if about.get("told_order") else ""


def _beside_plain_lines(file: Path, studies: list[StudySummary]) -> list[str]:
    """Compares expands with a kernel without SGLang's semantics; nothing where that has not been measured."""
    if not file.exists():
        return []
    columns, rows = beside_plain(studies, json.loads(file.read_text()))
    note = (
        "What the full semantics cost: a plain expand (`docs/run_plain_expand.py`: one adapter, full chunks, no "
        "permutation, masks or scaling), at the best of its configs, timed the same way on the same GPU."
    )
    return ["", note, "", *markdown(columns, rows)]


def tables(studies: Sequence[StudySummary]) -> tuple[Table, Table]:
    """Makes a row for each layer, kernel and chunk size, with what is listed for the same GPU, and the table of what a
    block saves."""
    results = layer_results(QWEN3_EMBEDDING_0_6B, studies)
    if not listed(studies):
        return (COLUMNS, [cells(result) for result in results]), savings(results)
    bandwidth = next(study.result.bandwidth_bytes_per_s for study in studies if study.result)
    assert bandwidth is not None, "a study on a GPU measures it"
    # The config, which is long, stays last.
    rows = [[*row[:-1], *_listed(result, bandwidth), row[-1]] for result in results for row in [cells(result)]]
    return ([*COLUMNS[:-1], *LISTED_COLUMNS, COLUMNS[-1]], rows), savings(results)


def whose(studies: Sequence[StudySummary]) -> str:
    """Tells whose kernels were timed."""
    _, server, version = source.split(studies[0].spec.kernel)
    return "our kernels" if server == source.BUILTIN else f"SGLang {version}'s own kernels"


def listed(studies: Sequence[StudySummary]) -> bool:
    """Tells whether the GPU is the one that the PR lists times of, and prompts alone were timed, as there."""
    return studies[0].spec.environment.gpu == _LISTED_GPU and not _of_batches(studies)


def _of_batches(studies: Sequence[StudySummary]) -> str:
    """Says so where times are not of prompts alone, as a server's own kernels are tuned by default."""
    mixed = [study.spec.problem for study in studies if study.spec.problem.get("workload") == "mixed"]
    if not mixed:
        return ""
    requests = sorted({n for problem in mixed for n in problem["decode_requests"]})
    adapters = sorted({problem["num_loras"] for problem in mixed})
    return (
        f" Times are means of such prompts and of decode batches ({one_of(requests)} requests, each where a server "
        f"cuts it into these chunks), with {one_of(adapters)} adapters."
    )


def beside_plain(studies: Sequence[StudySummary], plain: Mapping[str, Any]) -> Table:
    """Compares the tuned expands with docs/run_plain_expand.py, a kernel that does nothing but the product."""
    tuned = {(r.layer, r.chunk_size): r for r in layer_results(QWEN3_EMBEDDING_0_6B, studies) if r.op == "expand"}
    rows = []
    for row in plain["rows"]:
        if found := tuned.get((row["layer"], row["chunk_size"])):
            ratio = f"{found.tuned_us / row['us']:.2f}"
            rows.append([row["layer"], str(row["chunk_size"]), us(row["us"]), us(found.tuned_us), ratio])
    return ("layer", "chunk", "plain us", "ours, tuned us", "ratio"), rows


MEANING = (
    f"Qwen3-Embedding-0.6B, rank 64, float16, {TOKENS} tokens of one adapter; down shares its expand with o. "
    "`of floor` is the least time to move each byte once, at the measured copy bandwidth, over the tuned time."
)
LISTED = (
    "`listed` is SGLang's PR 20391, with SGLang's kernels of then; its default times are tuned time x speed-up, and "
    "known at chunk size 128 only. Its expand times include zeroing the output, these do not: before `over listed "
    "default`, the least that zeroing takes at the measured bandwidth was taken off, so it is at most this."
)


def took(run: Mapping[str, Any], studies: Sequence[StudySummary]) -> str:
    """Tells how long one command took for all of it."""
    in_studies_s = sum(study.result.wall_s for study in studies if study.result)
    note = f"; {run['note']}" if "note" in run else ""
    return (
        f"The {len(studies)} studies took {run['wall_s']:.0f} s of wall time in one command, file writing and "
        f"proof included ({in_studies_s:.0f} s in the studies{note})."
    )


def _listed(result: LayerResult, bandwidth_bytes_per_s: float) -> list[str]:
    """Returns speed-up, default and tuned time as listed, and the listed default over our tuned time; "-" for the
    unknown."""
    key = (result.layer, result.op)
    speedup = _LISTED_SPEEDUPS[key][_CHUNK_SIZES.index(result.chunk_size)]
    if result.chunk_size != _CHUNK_SIZES[-1]:
        return [f"{speedup:.2f}x", "-", "-", "-"]
    tuned_us = 1e3 * _LISTED_TUNED_MS[key]
    default_us = tuned_us * speedup
    ratio = (default_us - _zeroing_us(result, bandwidth_bytes_per_s)) / result.tuned_us
    return [f"{speedup:.2f}x", us(default_us), us(tuned_us), f"{ratio:.2f}x"]


def _zeroing_us(result: LayerResult, bandwidth_bytes_per_s: float) -> float:
    """Returns the least time that it takes to write the output of an expand once."""
    if result.op == "shrink":
        return 0.0
    columns = next(sum(layer.widths) for layer in QWEN3_EMBEDDING_0_6B if layer.name == result.layer)
    return _HALF_BYTES * TOKENS * columns / bandwidth_bytes_per_s * 1e6
