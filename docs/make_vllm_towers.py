"""Writes which sizes of towers must divide by the GPUs: `python docs/make_vllm_towers.py`, where vLLM is installed.

It asks the server's classes about the configs of `tests/data/vllm_wrapped/by_class.json`, on two GPUs, with one size of
a tower at a time made odd: what the server then refuses, and does not on one GPU, must divide.
"""

from __future__ import annotations

import copy
import json
import re
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
WIDTHS = re.compile(r"(intermediate_size|encoder_ffn_dim|ffn_dim|mlp_dim)")
_EMBEDDINGS = ("hidden_size", "embed_dim", "d_model", "width")


@dataclass(frozen=True)
class Size:
    """A size of a tower, and an odd one that may stand in its place."""

    part: str
    name: str
    odd: int


def main() -> None:
    """Writes the table."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, row in json.loads((make_wrapped.DATA / "by_class.json").read_text()).items():
        architecture = (row["config"].get("architectures") or [name])[0]
        config = with_parts(row["config"])
        for size in sizes(config):
            if size.name not in found.get(architecture, {}).get(size.part, []) and must_divide(config, size):
                found.setdefault(architecture, {}).setdefault(size.part, []).append(size.name)
                print(architecture, size, flush=True)
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(found[name], sort_keys=True)}" for name in sorted(found))
    provenance = {"package": f"vllm {metadata.version('vllm')}", "read": "off what its classes refuse on two GPUs"}
    TARGET.write_text(f'{{"provenance": {json.dumps(provenance)},\n "towers": {{\n{rows}\n }}}}\n')


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
    main()
