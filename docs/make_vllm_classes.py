"""Writes what vLLM's model classes say of LoRA: `python docs/make_vllm_classes.py`, where vLLM is installed.

Without a server, `--from FILE` takes what was read off its classes before: a JSON object by architecture of ``cls``,
``lora``, ``embedding_modules``, ``packed``, ``is_3d`` and ``non_gated``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "autotune" / "servers" / "vllm" / "architectures" / "classes.json"


def main() -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="file", type=Path, help="what was read off the classes before")
    parser.add_argument("--release", default="0.33.0", help="the server's release that FILE is of")
    flags = parser.parse_args()
    if flags.file:
        rows = {name: converted(row) for name, row in json.loads(flags.file.read_text()).items()}
        provenance = {"server": f"vLLM {flags.release}", "read": "from a table made off its classes before"}
        gone = json.loads(TARGET.read_text())["removed"]
    else:
        rows = installed()
        provenance = {"server": f"vLLM {metadata.version('vllm')}", "read": "off the classes of its registry"}
        gone = removed()
    write(TARGET, provenance, rows, gone)
    print(f"{TARGET}: {len(rows)} architectures, {sum(row['lora'] for row in rows.values())} with LoRA")


def write(
    target: Path, provenance: Mapping[str, str], rows: Mapping[str, Mapping[str, Any]], gone: Mapping[str, str]
) -> None:
    """Writes rows, one a line, and the architectures that are gone."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(rows[name], sort_keys=True)}" for name in sorted(rows))
    head = f'"provenance": {json.dumps(provenance)},\n "removed": {json.dumps(gone, sort_keys=True)}'
    target.write_text(f'{{{head},\n "classes": {{\n{lines}\n }}}}\n')


def converted(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row of such a file as ours."""
    return {
        "class": row["cls"],
        "lora": row["lora"],
        "embedding_modules": row["embedding_modules"],
        "packed": row["packed"],
        "experts_3d": row["is_3d"],
        "gated": not row["non_gated"],
    }


def installed() -> dict[str, dict[str, Any]]:
    """Reads the classes of the installed server; one that cannot be imported here is left out, by name."""
    registry = import_module("vllm.model_executor.models.registry").ModelRegistry
    rows = {}
    for architecture, entry in registry.models.items():
        try:
            rows[architecture] = described(entry.load_model_cls())
        except Exception as error:  # of a package that a class needs and this machine lacks
            print(f"{architecture}: left out, {type(error).__name__}: {error}")
    return rows


def removed() -> dict[str, str]:
    """Returns the last release of each architecture that the server had, which Transformers has not either."""
    registry = import_module("vllm.model_executor.models.registry")
    transformers = import_module("transformers")
    gone: Mapping[str, str] = registry._PREVIOUSLY_SUPPORTED_MODELS
    return {name: release for name, release in gone.items() if not hasattr(transformers, name)}


def described(model: type) -> dict[str, Any]:
    """Returns the row of a class."""
    packed: Mapping[str, list[str]] = getattr(model, "packed_modules_mapping", None) or {}
    return {
        "class": model.__name__,
        "lora": bool(getattr(model, "supports_lora", False)),
        "embedding_modules": sorted(getattr(model, "embedding_modules", None) or ()),
        "packed": {name: list(parts) for name, parts in packed.items()},
        "experts_3d": bool(getattr(model, "is_3d_moe_weight", False)),
        "gated": not getattr(model, "is_non_gated_moe", False),
    }


if __name__ == "__main__":
    main()
