"""Knows SGLang's csgmv LoRA ops, ``shrink`` and ``expand``: their files, defaults and entries.

The dims of a call are ``K`` (shrink: columns of x; expand: output columns of all slices), ``R`` (rank of the pool),
``S`` (slices) and ``chunk_size``. A file belongs to one Triton version: the call's, or the installed one. Source:
contracts B1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.contract import Call, Config, Value
from autotune.environment import installed_version
from autotune.errors import InputError, one_of
from autotune.servers.lookup import Failure, Lookup, Step, is_integer
from autotune.servers.sglang import facts, own_keys


def check(call: Call) -> None:
    """Makes sure that the call is one of these ops, with all its sizes.

    Raises:
        InputError: If it is not.
    """
    if call.op not in facts.DEFAULTS:
        raise InputError(f"sglang: got op {call.op!r}, allowed: {one_of(facts.DEFAULTS)}")
    if missing := [dim for dim in facts.DIMS if dim not in call.dims]:
        raise InputError(f"sglang {call.op}: the call lacks {one_of(missing)}; needed: {one_of(facts.DIMS)}")


def default_config(call: Call) -> dict[str, Value]:
    """Returns what the server launches with when no file says otherwise; warps and stages are left to Triton."""
    check(call)
    return dict(facts.DEFAULTS[call.op])


def file_name(gpu_name: str, call: Call) -> str:
    """Names the file of the call, in the folder of its Triton version."""
    check(call)
    sizes = ",".join(f"{dim}={call.dims[dim]}" for dim in facts.FILE_DIMS)
    name = f"lora_{call.op},{sizes},device={facts.gpu_in_file(gpu_name)}.json"
    return f"{facts.ROOT}/{version_folder(call)}/{name}"


def version_folder(call: Call) -> str:
    """Names the folder of the call's Triton version.

    Raises:
        InputError: If the call has none and there is no Triton here.
    """
    version = call.triton or installed_version("triton")
    if version is None:
        raise InputError("sglang: its files stand in a folder for one Triton version, and triton is not installed here")
    return facts.version_folder(version)


def entry(config: Config, call: Call) -> dict[str, Value]:
    """Returns the JSON value for a config: what is left to Triton is left out, and so is what the op does not read.

    Configs of our kernels alone have keys of their own (`own_keys`).

    Raises:
        InputError: If the config lacks a block size, or has a key that the server does not know.
    """
    check(call)
    if missing := [key for key in facts.REQUIRED if config.get(key) is None]:
        raise InputError(f"sglang {call.op}: the config lacks {one_of(missing)}; needed: {one_of(facts.REQUIRED)}")
    known = (*facts.keys("expand"), *own_keys.of(call.op))
    if unknown := sorted(set(config) - set(known)):
        raise InputError(f"sglang {call.op}: the config has {one_of(unknown)}; allowed: {one_of(known)}")
    entry = {key: config[key] for key in facts.keys(call.op) if config.get(key) is not None}
    return {**entry, **own_keys.spelled(config, call.op)}


def resolve(table: Any, call: Call, by_plug_in: bool = False) -> Lookup:
    """Looks the call up in a file's parsed content, as the server does; its failures are part of the result.

    Args:
        by_plug_in: The file is one of our kernels', whose own keys count, too.
    """
    check(call)
    wanted = call.dims["chunk_size"]
    try:
        chunks = {int(key): value for key, value in table.items()}
        step = _step(chunks, wanted)
    except (AttributeError, TypeError, ValueError) as error:
        return Lookup("file", None, (), _file_failure(table, type(error).__name__))
    config = chunks[int(step.taken)]
    if failure := _config_failure(config):
        return Lookup("file", None, (step,), failure)
    keys = own_keys.read(call.op, by_plug_in)
    return Lookup("file", {key: config[key] for key in keys if config.get(key) is not None}, (step,))


def _step(chunks: Mapping[int, Any], wanted: int) -> Step:
    if chunks.get(wanted) is not None:
        return Step("chunk_size", wanted, str(wanted), "exact")
    distance = {chunk: abs(chunk - wanted) for chunk in chunks}
    taken = min(chunks, key=distance.__getitem__)
    ties = tuple(str(chunk) for chunk in chunks if chunk != taken and distance[chunk] == distance[taken])
    return Step("chunk_size", wanted, str(taken), "nearest", ties)


def _file_failure(table: Any, error: str) -> Failure:
    if not isinstance(table, dict):
        return Failure(error, "chunk_size", None, f"got {type(table).__name__}, allowed: an object of chunk sizes")
    if not table:
        return Failure(error, "chunk_size", None, "got an empty object; remove the file or tune the shape")
    bad = next(key for key in table if not is_integer(key))
    return Failure(error, "chunk_size", bad, f"got key {bad!r}, allowed: chunk sizes as integers; remove it")


def _config_failure(config: Any) -> Failure | None:
    """Tells how the server fails with an entry like this, if it does; null is no size either."""
    if not isinstance(config, dict):
        return Failure("TypeError", "config", None, f"got {type(config).__name__}, allowed: an object of parameters")
    missing = [key for key in facts.REQUIRED if config.get(key) is None]
    if not missing:
        return None
    error = "TypeError" if missing[0] in config else "KeyError"
    return Failure(error, "config", missing[0], f"the config lacks {one_of(missing)}; tune the shape")
