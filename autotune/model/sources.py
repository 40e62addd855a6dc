"""Finds a model's config: a local folder or file, a shipped preset, or a model id of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.errors import InputError, one_of
from autotune.model.families import EMBEDDINGS
from autotune.model.json_objects import read_object
from autotune.untrusted import reading

PRESETS_DIR = Path(__file__).parents[1] / "studies" / "presets"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_PASS_A_FILE = "download its config.json elsewhere and pass the file's path instead"


@dataclass(frozen=True)
class Source:
    """A model's config as found.

    Attributes:
        name: What to call the model.
        origin: Where the config is from, for messages.
        config: The fields of its config.json.
        embedding_modules: What the source says about them; None to take the architecture's.
        digest: Tells the config from another one of the same name; empty of a shipped preset, whose name is its own.
    """

    name: str
    origin: str
    config: Mapping[str, Any]
    embedding_modules: tuple[str, ...] | None = None
    digest: str = ""


def presets() -> dict[str, Path]:
    """Returns the shipped presets by name."""
    return {path.stem: path for path in sorted(PRESETS_DIR.glob("*.toml"))}


def find(model: str) -> Source:
    """Finds the config that `model` names.

    Raises:
        InputError: If it names nothing, or what it names cannot be read.
    """
    path = Path(model)
    if path.exists():
        return local(path)
    for name, file in presets().items():
        if model.lower() == name.lower():
            return _from_toml(file)
    if path.suffix in (".json", ".toml") or path.is_absolute() or not _HUB_ID.fullmatch(model):
        raise InputError(
            f"MODEL: got {model!r}, allowed: a folder or config.json that exists, a preset ({one_of(presets())}), "
            "or a Hugging Face id like Qwen/Qwen3-8B"
        )
    for file in presets().values():
        if (preset := _from_toml(file)).origin.endswith(f": {model}"):
            return preset
    return _from_hub(model)


def local(path: Path, flag: str = "MODEL") -> Source:
    """Reads the config in a model's folder, or the file itself.

    Args:
        flag: What named the path, for messages.

    Raises:
        InputError: If there is none, or it cannot be read.
    """
    file = path / "config.json" if path.is_dir() else path
    if file.suffix == ".toml":
        return _from_toml(file)
    config = read_object(file, flag, "give a model's folder or its config.json")
    # The hub's cache links a folder's config.json to a blob: the folder is resolved, not the file.
    name = file.parent.resolve().name if file.name == "config.json" else file.stem
    return Source(name, str(file), config, digest=_digest(config))


def _digest(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()


def _from_toml(file: Path) -> Source:
    try:
        data = reading.read_toml(file)
    except (OSError, ValueError) as error:
        raise InputError(f"MODEL: cannot read {file} ({error}); see the shipped presets for the format") from error
    config = data.get("config")
    if not isinstance(config, dict):
        raise InputError(f"MODEL: {file} has no table [config]; see the shipped presets for the format")
    digest = "" if file.parent == PRESETS_DIR else _digest(data)
    origin = f"preset {file.stem}: {data.get('source')}"
    return Source(file.stem, origin, config, _embedding_modules(file, data), digest)


def _embedding_modules(file: Path, data: Mapping[str, Any]) -> tuple[str, ...] | None:
    modules = data.get("embedding_modules")
    if modules is None:
        return None
    if not isinstance(modules, list) or not all(module in EMBEDDINGS for module in modules):
        raise InputError(
            f"MODEL: {file}: embedding_modules: got {modules!r}, allowed: a list of {one_of(EMBEDDINGS)}, or none of "
            "them ([]); fix it, or leave it out for the architecture's own"
        )
    return tuple(modules)


def _from_hub(model: str) -> Source:
    try:
        from huggingface_hub import hf_hub_download  # an optional extra
    except ImportError as error:
        raise InputError(
            f"MODEL: {model!r} is to come from the Hugging Face hub, which needs the extra 'hub' "
            f"(pip install 'lora-autotune[hub]'); or {_PASS_A_FILE}"
        ) from error
    try:
        file = Path(hf_hub_download(model, "config.json"))
    except Exception as error:  # the hub's own, the network's, the file system's: all mean the same here
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"MODEL: cannot get config.json of {model!r} ({type(error).__name__}: {reason}); {_PASS_A_FILE}"
        ) from error
    found = local(file)
    return Source(model.rpartition("/")[2], f"hub: {model}", found.config, digest=found.digest)
