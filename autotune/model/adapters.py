"""Reads what adapters say about the server they need: their ranks, and the modules they have weights for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from autotune.errors import InputError, one_of
from autotune.model.json_objects import read_object
from autotune.model.modules import ALL_LINEAR, ALL_MODULES, MODULE_NAMES
from autotune.untrusted import reading

_FLAG = "--lora-path"
_CONFIG = "adapter_config.json"
_CONFIGS = (_CONFIG, "config.json")
_RANK_FIELDS = ("r", "lora_r", "lora_rank")


def make_sure_of(path: Path) -> None:
    """Makes sure that an adapter is there.

    Raises:
        InputError: If it is not.
    """
    if not path.exists():
        raise InputError(f"{_FLAG}: got {path}, no such folder; give the folder of a local adapter")


def rank(path: Path) -> int:
    """Returns an adapter's rank, read from the config in its folder, or else from its weights.

    Raises:
        InputError: If neither tells it.
    """
    make_sure_of(path)
    for name in _CONFIGS:
        if (path / name).is_file() and (found := _rank_of_config(path / name)):
            return found
    for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        if found := _rank_of_weights(file):
            return found
    raise InputError(
        f"{_FLAG}: {path} has no rank, neither in {one_of(_CONFIGS)} ({one_of(_RANK_FIELDS)}) nor in "
        "lora_ weights of a .safetensors file; give --lora-rank"
    )


def config_of(path: Path) -> dict[str, Any] | None:
    """Returns an adapter's config; None where its folder has none.

    Raises:
        InputError: If it cannot be read.
    """
    make_sure_of(path)
    return _read(path / _CONFIG) if (path / _CONFIG).is_file() else None


def target_modules(paths: Sequence[Path]) -> tuple[str, ...] | None:
    """Returns the modules that the adapters together have weights for; None where their configs do not list them.

    Raises:
        InputError: If a config cannot be read, or lists a module that is not known here.
    """
    found: set[str] = set()
    for path in paths:
        file = path / _CONFIG
        listed = _read(file).get("target_modules") if file.is_file() else None
        if listed in ALL_MODULES:
            found.add(ALL_LINEAR)
            continue
        if not isinstance(listed, list):
            return None
        found |= {str(name).rpartition(".")[2] for name in listed}
    if unknown := sorted(found - {*MODULE_NAMES, ALL_LINEAR}):
        raise InputError(
            f"{_FLAG}: the adapters target {one_of(unknown)}, known here: {one_of(MODULE_NAMES)}; give --target-modules"
        )
    return tuple(name for name in (*MODULE_NAMES, ALL_LINEAR) if name in found)


def _rank_of_config(file: Path) -> int | None:
    """Returns the largest of an adapter's ranks, since modules may have one of their own."""
    config = _read(file)
    stated = next(({name: config[name]} for name in _RANK_FIELDS if config.get(name) is not None), None)
    if stated is None:
        return None
    pattern = config.get("rank_pattern") or {}
    if not isinstance(pattern, dict):
        raise InputError(
            f"{_FLAG}: {file}: rank_pattern: got {pattern!r}, allowed: an object of modules and ranks; fix it"
        )
    ranks: Mapping[str, Any] = stated | {f"rank_pattern {module}": each for module, each in pattern.items()}
    for key, each in ranks.items():
        if type(each) is not int or each < 1:
            raise InputError(f"{_FLAG}: {file}: {key}: got {each!r}, allowed: a positive integer; fix it")
    return int(max(ranks.values()))


def _rank_of_weights(file: Path) -> int | None:
    """Returns the least short side of all A and B matrices: the short side is the rank, unless an output is tiny."""
    try:
        reading.check_regular(file)
        with safe_open(file, framework="np") as weights:
            shapes = [weights.get_slice(key).get_shape() for key in weights.keys() if "lora_" in key]  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{_FLAG}: {file} is not a readable safetensors file ({error})") from error
    return min((min(shape) for shape in shapes if len(shape) == 2), default=None)


def _read(file: Path) -> dict[str, Any]:
    return read_object(file, _FLAG, "give the folder of a local adapter")
