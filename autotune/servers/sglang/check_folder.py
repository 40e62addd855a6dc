"""Finds the defects of an SGLang config folder (contracts B1, B2)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from autotune.contract import Call
from autotune.contract.gpu_names import reported_names
from autotune.errors import one_of
from autotune.servers import content, stand_back
from autotune.servers.checking import Known
from autotune.servers.finding import Effect, Finding
from autotune.servers.launchable import unlaunchable
from autotune.servers.lookup import is_integer
from autotune.servers.resources import too_large
from autotune.servers.sglang import facts, own_keys
from autotune.servers.sglang.chunks import reachable
from autotune.servers.sglang.facts import CHUNK_SIZES, REQUIRED, VERSION_FOLDER
from autotune.servers.sglang.split_k import LOSES_SPLIT_K, split_k_entry
from autotune.servers.sglang.versions import newest, versions


def check(directory: Path, known: Known) -> tuple[list[Finding], int]:
    """Returns the defects of all files, and how many files are read."""
    findings = _misplaced(directory)
    files = 0
    for path in sorted(directory.glob(f"{facts.ROOT}/*/*.json")):
        match = facts.FILE.fullmatch(path.name)
        if match is None or not path.parent.name.startswith("triton_"):
            findings.append(_ignored(path, directory, "no server reads a file of this name or folder; rename it"))
            continue
        if not path.exists():
            findings.append(_ignored(path, directory, content.LINK_TO_NOTHING))
            continue
        files += 1
        if names := reported_names(match["device"]):
            right = " or ".join(map(facts.gpu_in_file, names))
            why = f"drivers report no GPU as {match['device']} but {' or '.join(names)}: unread; write {right}"
            findings.append(Finding(path.relative_to(directory).as_posix(), (), "generic GPU name", "ignored", why))
        findings += _check_file(path, directory, match, known)
    return findings + _versions(directory), files


def _misplaced(directory: Path) -> list[Finding]:
    root = directory / facts.ROOT
    findings = []
    if not root.is_dir():
        inside = directory.name == facts.ROOT or any(directory.glob("triton_*"))
        hint = f"; {facts.CONFIG_FOLDER} is the folder above {facts.ROOT}" if inside else ""
        message = f"the server looks into {facts.ROOT}/triton_<version>/, which is not there{hint}"
        findings.append(Finding(".", (), "folder name", "ignored", message))
    else:
        for folder in sorted(path for path in root.iterdir() if path.is_dir()):
            if not VERSION_FOLDER.fullmatch(folder.name):
                exact = "no Triton version is spelled so ('.' becomes '_')"
                fallback = folder.name.startswith("triton_")
                message = f"{exact}; " + (
                    "it is read only where no better folder has the file" if fallback else "unread"
                )
                file = folder.relative_to(directory).as_posix()
                findings.append(Finding(file, (), "folder name", "slower" if fallback else "ignored", message))
    for path in sorted([*directory.glob("*.json"), *root.glob("*.json")]):
        if facts.FILE.fullmatch(path.name):
            findings.append(_ignored(path, directory, f"it belongs into {facts.ROOT}/triton_<version>/"))
    return findings


def _ignored(path: Path, directory: Path, message: str) -> Finding:
    return Finding(path.relative_to(directory).as_posix(), (), "file name", "ignored", message)


def _versions(directory: Path) -> list[Finding]:
    """Warns where a server without a folder of its own takes an older Triton's file: the names are compared as text."""
    findings = []
    there = {path.name for path in directory.glob(f"{facts.ROOT}/triton_*/*.json")}
    for name in sorted(name for name in there if facts.FILE.fullmatch(name)):
        files = versions(directory, name)
        if files and (last := newest(files)) != (first := files[0]):
            message = (
                f"a server with a Triton that has no folder here takes {first.parent.name} before "
                f"{last.parent.name}: names are compared as text; remove the older folder"
            )
            findings.append(Finding(first.relative_to(directory).as_posix(), (), "version order", "slower", message))
    return findings


def _check_file(path: Path, directory: Path, match: re.Match[str], known: Known) -> list[Finding]:
    read = content.read(path, directory)
    findings = list(read.findings)
    if read.readable:
        data = read.data
        if isinstance(data, dict) and known.by_plug_in:
            data = {key: each for key, each in data.items() if not (isinstance(each, dict) and stand_back.is_one(each))}
        if data or not read.data:
            findings += _check_chunks(read.file, data, match, known)
    if not known.by_plug_in and (key := split_k_entry(read.data, read.file)) is not None:
        findings.append(Finding(read.file, (key,), "no split-K", "slower", LOSES_SPLIT_K))
    return findings


def _check_chunks(file: str, data: Any, match: re.Match[str], known: Known) -> list[Finding]:
    if not isinstance(data, dict) or not data:
        what = "an empty object" if data == {} else type(data).__name__
        message = f"got {what}, allowed: an object of chunk sizes; the lookup fails in it; remove the file"
        return [Finding(file, (), "no object", "crash at start", message)]
    findings = []
    for key in data:
        if not is_integer(key):
            message = "allowed: chunk sizes as integers; ValueError on reading the file; remove it"
            findings.append(Finding(file, (key,), "no integer", "crash at start", message))
    numbers = [int(key) for key in data if is_integer(key)]
    if numbers != sorted(numbers):
        message = f"{one_of(numbers)} do not ascend: of two keys just as near, the first one is taken; sort them"
        findings.append(Finding(file, (), "unordered keys", "slower", message))
    for key, config in data.items():
        if is_integer(key):
            unreachable = _check_reach(file, key, config, match["op"], known.max_chunk)
            wrong = _check_config(file, key, config, match["op"], known.by_plug_in)
            findings += unreachable + wrong
            if not unreachable and not any(finding.effect != "ignored" for finding in wrong):
                findings += _check_size(file, key, config if known.by_plug_in else own_keys.without(config), match)
    return findings


def _check_size(file: str, key: str, config: dict[str, Any], match: re.Match[str]) -> list[Finding]:
    dims = {name: int(match[name]) for name in facts.FILE_DIMS} | {"chunk_size": int(key)}
    call = Call(facts.NAME, match["op"], dims)
    problem = too_large(call, config, match["device"])
    return [Finding(file, (key,), "too large", _crash(key), problem)] if problem else []


def _check_reach(file: str, key: str, config: Any, op: str, max_chunk: int | None) -> list[Finding]:
    if int(key) not in CHUNK_SIZES:
        message = f"no server has this chunk size; allowed: {one_of(CHUNK_SIZES)}"
    elif max_chunk is not None and int(key) not in reachable(max_chunk):
        if config == facts.DEFAULTS[op]:
            return []
        message = f"a server with --max-lora-chunk-size {max_chunk} only uses {one_of(reachable(max_chunk))}"
    else:
        return []
    return [Finding(file, (key,), "unreachable chunk size", "ignored", message)]


def _check_config(file: str, key: str, config: Any, op: str, by_plug_in: bool) -> list[Finding]:
    effect, known = _crash(key), own_keys.read(op, by_plug_in)
    if not isinstance(config, dict):
        message = f"got {type(config).__name__}, allowed: an object of parameters"
        return [Finding(file, (key,), "no object", effect, message)]
    findings = []
    if missing := [name for name in REQUIRED if config.get(name) is None]:
        other = [name for name in config if name.upper() in missing and name not in missing]
        hint = f"; {one_of(other)} is not read" if other else ""
        error = "null is no size" if missing[0] in config else "KeyError"
        message = f"lacks {one_of(missing)}: {error}{hint}; add it"
        findings.append(Finding(file, (key,), "missing key", effect, message))
    for name, problem in unlaunchable({name: value for name, value in config.items() if value is not None}):
        if name in known:
            message = f"{problem}: the kernel does not compile; change it"
            findings.append(Finding(file, (key, name), "bad value", effect, message))
    for name in config:
        if name not in known:
            ours = "this project's kernel alone reads it, in the plug-in's folder"
            why = ours if name in own_keys.of(op) else f"{op} has no such parameter"
            why = "shrink does not read it" if name == "maxnreg" else why
            findings.append(Finding(file, (key, name), "dead key", "ignored", f"{why}; remove it"))
    return findings


def _crash(key: str) -> Effect:
    """Tells when: only the smallest chunk size, that of decode batches, runs before the first request."""
    return "crash at start" if int(key) == CHUNK_SIZES[0] else "crash at request"
