"""Finds the defects of a vLLM config folder (contracts A1, A3, A8 and A17)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from autotune.contract import Call, Config
from autotune.contract.gpu_names import reported_names
from autotune.errors import one_of
from autotune.servers import content, provenance, stand_back
from autotune.servers.checking import Known
from autotune.servers.finding import Finding
from autotune.servers.launchable import unlaunchable
from autotune.servers.resources import too_large
from autotune.servers.vllm import check_moe, check_own, check_split_k, check_variety, dense, facts, own_file
from autotune.servers.vllm.check_levels import Walk, walk
from autotune.servers.vllm.check_split_k import ShrinkSize

_EXPERTS_UNREAD = (
    "no one reads it: the plug-in has other files for the experts (ALIGNED_MOE_LORA), and takes their block_m from the "
    "server's own files; move it to those if it was timed on the server's kernel, else remove it"
)


def check(directory: Path, known: Known) -> tuple[list[Finding], int]:
    """Finds the defects of all files, and counts the files that are read.

    With a server's flags only what it reads can be a defect; without them, (nearly) every model is taken to have
    certain num_slices.
    """
    folder = _Folder(directory, known)
    for path in sorted(directory.glob("*.json")):
        if path.name not in provenance.SIDE_CARS and not _is_of_another_reader(path.name):
            folder.take(path)
    folder.check_together()
    return folder.findings, folder.files


class _Folder:
    """What the files of a folder hold, gathered file by file, and what is wrong with it.

    Attributes:
        files: How many of them are read.
    """

    def __init__(self, directory: Path, known: Known) -> None:
        self.findings: list[Finding] = []
        self.files = 0
        self._directory, self._known = directory, known
        self._max_loras = {shape.op: shape.dims["max_loras"] for shape in known.shapes}
        self._dense: list[Walk] = []
        self._experts: dict[str, dict[str, Walk]] = {}

    def take(self, path: Path) -> None:
        """Checks a file on its own, and keeps it for what is checked of all."""
        match = facts.FILE.fullmatch(path.name)
        if problem := _name_problem(match):
            self.findings.append(Finding(path.name, (), "file name", "ignored", problem))
            return
        assert match is not None
        if names := reported_names(match["gpu"]):
            self.findings.append(Finding(path.name, (), "generic GPU name", "ignored", _generic(match, names)))
        op = match["op"].lower()
        kind = op if op in (*facts.MOE_OPS, *facts.ALIGNED_OPS) else op.removeprefix("lora_").partition("_")[0]
        if self._known.serving and kind not in (*own_file.BY_OP, *self._max_loras):
            return
        if self._known.by_plug_in and op in facts.MOE_OPS:
            self.findings.append(Finding(path.name, (), "unread file", "ignored", _EXPERTS_UNREAD))
            return
        if not path.exists():
            self.findings.append(Finding(path.name, (), "file name", "ignored", content.LINK_TO_NOTHING))
            return
        read = content.read(path, self._directory)
        self.findings += read.findings
        if read.readable:
            self.files += 1
            self._take_content(path.name, read.data, match["gpu"], op, kind)

    def _take_content(self, file: str, data: Any, gpu: str, op: str, kind: str) -> None:
        if own := own_file.BY_OP.get(kind):
            self.findings += check_own.check(own, file, data)
        elif op in facts.MOE_OPS:
            made = walk(file, data, facts.MOE_LEVELS, self._max_loras.get(kind))
            self._experts.setdefault(gpu, {})[op] = made
            check_moe.check_entries(made, op, gpu, self._known.serving)
        else:
            made = walk(file, data, facts.DENSE_LEVELS, self._max_loras.get(kind))
            self._dense.append(made)
            if self._known.by_plug_in:
                made.leaves = {key: config for key, config in made.leaves.items() if not stand_back.is_one(config)}
            _check_entries(made, op, gpu)

    def check_together(self) -> None:
        """Checks what files have to hold so that they suit one another, once all are taken."""
        serving = self._known.serving
        if serving is None:
            dual_stream = any("EXPAND_FALSE" in made.file for made in self._dense)
            for made in self._dense:
                # Beside dual stream, layers of one slice are all that is left to the file of added inputs.
                if not (dual_stream and "EXPAND_TRUE" in made.file):
                    _check_slices(made, bool(self._experts))
        for family in self._experts.values():
            if serving is None:
                check_moe.check_slices(family)
            check_moe.check_together(family, serving)
        walks = [*self._dense, *(made for family in self._experts.values() for made in family.values())]
        self.findings += [finding for made in walks for finding in made.grouped()]


def _is_of_another_reader(name: str) -> bool:
    """Tells whether the server reads a file of this name for something else than LoRA."""
    return any(pattern.fullmatch(name) for pattern in (facts.BASE_MOE_FILE, facts.SSM_FILE))


def _generic(match: re.Match[str], names: Sequence[str]) -> str:
    right = [f"{facts.gpu_in_file(name)}_{match['op']}.json" for name in names]
    return (
        f"drivers report no GPU as {match['gpu']} but {' or '.join(names)}, so that it may be unread; name it "
        f"{' or '.join(right)}"
    )


def _name_problem(match: re.Match[str] | None) -> str | None:
    if match is None:
        return "no server reads a file of this name; move it elsewhere, or give it the name of its GPU and op"
    if (right := facts.gpu_in_file(match["gpu"])) != match["gpu"]:
        return (
            f"no server reads it: blanks and hyphens of the GPU's name become '_'; name it {right}_{match['op']}.json"
        )
    return None


def _check_entries(made: Walk, file_op: str, gpu: str) -> None:
    op, _, adds = file_op.partition("_")
    live = (*facts.DENSE_REQUIRED[op], *(("group_size_m",) if op == "shrink" else ()))
    launched = {key: dense.launched(config) for key, config in made.leaves.items()}
    check_variety.check(made, {key: {name: config.get(name) for name in live} for key, config in launched.items()})
    for key, config in launched.items():
        if missing := [name for name in facts.DENSE_REQUIRED[op] if name not in config]:
            upper = [name for name in config if name != name.lower()]
            hint = f"; {one_of(upper)} is not read, dense ops know lower case only" if upper else ""
            made.add(
                key, "missing key", made.crash(key), f"lacks {one_of(missing)}: KeyError {missing[0]!r}{hint}; add it"
            )
        bad = list(unlaunchable({name: config[name] for name in config if name in live}))
        for name, problem in bad:
            made.add((*key, name), "bad value", made.crash(key), f"{problem}: the kernel does not compile; change it")
        dims = {**dict(zip(facts.DENSE_LEVELS, map(int, key), strict=True)), "add_inputs": int(adds == "true")}
        if not missing and not bad:
            call = Call(facts.NAME, op, dims)
            if reason := too_large(call, config, gpu):
                made.add(key, "too large", made.crash(key), reason)
            if op == "shrink":
                check_split_k.check(made, key, config, ShrinkSize(dims["m"], dims["n"], dims["k"]))
        for name in dense.left_to_triton(made.leaves[key]):
            made.add((*key, name), "null", "ignored", f"null: Triton's own {config[name]} is taken; write it")
        for name, why in _dead(config, op):
            made.add((*key, name), "dead key", "ignored", why)


def _dead(config: Config, op: str) -> Iterator[tuple[str, str]]:
    if config.get("max_nreg") is not None:
        yield "max_nreg", f"got {config['max_nreg']}, but it is never passed to a kernel; set it to null"
    if op == "expand" and config.get("split_k") not in (None, 1):
        yield "split_k", f"got {config['split_k']}, but expand never splits; set it to 1"
    if op == "expand" and config.get("group_size_m") not in (None, facts.GROUP_SIZE):
        yield "group_size_m", f"got {config['group_size_m']}, but expand has no groups; leave it out"
    for name in config:
        if name.lower() not in facts.ENTRY_KEYS:
            yield name, "no parameter of the op; remove it, keep notes in a file of their own"


def _check_slices(made: Walk, has_experts: bool) -> None:
    """Notes where a file lacks slices that nearly every model looks up (contracts A5): 3 for qkv, 1 for o_proj, and 2
    unless all MLP are MoE."""
    if not made.leaves:
        return
    have = {key[1] for key in made.leaves}
    needed = {"1": "o_proj, down_proj", "3": "qkv_proj"} | ({} if has_experts else {"2": "gate_up_proj"})
    if missing := sorted(set(needed) - have):
        layers = one_of(needed[number] for number in missing)
        made.add(
            (),
            "num_slices missing",
            "crash at start",
            f"has num_slices {one_of(sorted(have))} only: KeyError where the model has {layers} "
            f"({one_of(missing)}); add them (--model tells what yours has)",
        )
