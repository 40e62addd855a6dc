"""Writes which sizes of towers must divide by the GPUs: `python docs/make_vllm_towers.py [ARCHITECTURE...]`,
where vLLM is installed.

It asks the server's classes about recorded configs of `tests/data/vllm_wrapped/`, on two GPUs, with one size of a tower
at a time made odd: what the server then refuses, and does not on one GPU, must divide. Beside each size stands the one
that its configuration class has where a config leaves it out, and the type of the part that has it so.
"""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import make_wrapped
from autotune.model.shape import read
from autotune.model.sources import Source
from autotune.servers.serving import Serving
from autotune.servers.vllm.architectures.decoders import table
from autotune.servers.vllm.from_server import asking

TARGET = Path(__file__).parents[1] / "autotune" / "servers" / "vllm" / "architectures" / "towers.json"
HEADS = re.compile(r"(num_|encoder_|num_attention_)?(attention_)?heads")
WIDTHS = re.compile(r"(intermediate_size|encoder_ffn_dim|ffn_dim|mlp_dim|output_dim)")
_EMBEDDINGS = ("hidden_size", "embed_dim", "d_model", "width", "hidden_dim")


@dataclass(frozen=True)
class Size:
    """A size of a tower, and an odd one that may stand in its place."""

    part: str
    name: str
    odd: int


def main(only: frozenset[str]) -> None:
    """Writes the table; with names of architectures the rows of these alone."""
    found: dict[str, dict[str, dict[str, int | str | None]]] = {}
    if only:
        found = {name: row for name, row in json.loads(TARGET.read_text())["towers"].items() if name not in only}
    for name, row in recorded():
        architecture = (row.get("architectures") or [name])[0]
        if only and architecture not in only:
            continue
        usual = with_parts({"model_type": row.get("model_type")})
        config = with_parts(row)
        for size in sizes(config):
            known = found.setdefault(architecture, {}).setdefault(size.part, {})
            if size.name not in known and must_divide(config, size):
                known[size.name] = part_of(usual, size.part).get(size.name)
                if model_type := part_of(usual, size.part).get("model_type"):
                    known["model_type"] = model_type
                print(architecture, size, flush=True)
    towers = {name: {part: names for part, names in parts.items() if names} for name, parts in found.items()}
    lines = (f"  {json.dumps(name)}: {json.dumps(row, sort_keys=True)}" for name, row in sorted(towers.items()) if row)
    rows = ",\n".join(lines)
    provenance = {"package": f"vllm {metadata.version('vllm')}", "read": "off what its classes refuse on two GPUs"}
    TARGET.write_text(f'{{"provenance": {json.dumps(provenance)},\n "towers": {{\n{rows}\n }}}}\n')


def recorded() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the recorded configs, with names."""
    for file in ("by_class.json", "varied.json"):
        yield from ((name, row["config"]) for name, row in json.loads((make_wrapped.DATA / file).read_text()).items())
    yield from ((file.stem, json.loads(file.read_text())) for file in sorted((make_wrapped.DATA / "configs").iterdir()))


def part_of(config: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Returns a part of a config; an empty one where it has none."""
    part: Any = config
    for step in path.split("."):
        part = part.get(step, {}) if isinstance(part, Mapping) else {}
    return part if isinstance(part, Mapping) else {}


def with_parts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config with the parts that it leaves out as its configuration class has them."""
    known = import_module("transformers").CONFIG_MAPPING
    model_type = config.get("model_type")
    usual = known[model_type]().to_dict() if model_type in known else {}
    texts = {path.partition(".")[0] for path in table().text_configs} - {"thinker_config"}
    parts = {name: part for name, part in usual.items() if name.endswith("_config") and isinstance(part, dict)}
    return {**{name: part for name, part in parts.items() if name not in texts}, **config}


def sizes(config: Mapping[str, Any], path: str = "") -> Iterator[Size]:
    """Yields the sizes of all parts of a config but the language model's."""
    for name, part in config.items():
        inner = f"{path}.{name}".lstrip(".")
        if not isinstance(part, dict) or inner in table().text_configs:
            continue
        width = next((part[each] for each in _EMBEDDINGS if type(part.get(each)) is int), 0)
        for field, value in part.items():
            if type(value) is int and value > 1 and HEADS.fullmatch(field) and width:
                yield Size(inner, field, width // (width & -width))
            elif type(value) is int and value > 1 and WIDTHS.fullmatch(field):
                yield Size(inner, field, value | 1)
        yield from sizes(part, inner)


def must_divide(config: Mapping[str, Any], size: Size) -> bool:
    """Tells whether two GPUs refuse what one serves."""
    changed = copy.deepcopy(dict(config))
    part = changed
    for step in size.part.split("."):
        part = part[step]
    part[size.name] = size.odd
    return _refuses(changed, 2) and not _refuses(changed, 1)


def _refuses(config: Mapping[str, Any], gpus: int) -> bool:
    model = read(Source("model", "config.json", config), {})
    answer = make_wrapped._in_a_copy(asking.job_of(model, Serving("vllm", gpus, 16, 4)))
    return answer.refused is not None


if __name__ == "__main__":
    main(frozenset(sys.argv[1:]))
