"""Holds our lookups against the servers' real loaders: random files, random calls, the entry that each side takes.

    PYTHONPATH=.:SERVER python docs/check_lookups.py [--queries 20000] [--seed 0]

SERVER is a folder with an installed server, or with its modules alone; needs no GPU. Prints the disagreements and their
number; every entry carries a mark, and an entry that a loader stops at must be one that our lookup calls a failure.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autotune import servers
from autotune.contract import Call
from autotune.errors import NotInstalledError
from autotune.servers.sglang.served_modules import CSGMV
from autotune.servers.vllm import facts as vllm
from autotune.servers.vllm.served_modules import DENSE
from served_loaders import loaded

GPU = "NVIDIA H200"
_QUERIES_A_FOLDER = 25
_SIZES = {
    "max_loras": (1, 2, 3, 4, 5, 8, 9, 17),
    "num_slices": (1, 2, 3),
    "m": (1, 2, 4, 16, 33, 64, 100, 256, 1024, 8192),
    "hidden": (64, 1024, 1536, 2048, 4096, 5120, 14336, 151936),
    "rank": (8, 16, 32, 64, 128, 256),
    "i": (256, 768, 1536),
    "chunk_size": (16, 32, 64, 128),
}


class Marked:
    """Entries that can be told apart."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._count = 0

    def file(self, levels: tuple[tuple[int, ...], ...]) -> Any:
        """Makes a table with some of the values of each level as keys, in any order."""
        if not levels:
            self._count += 1
            return {**_COMPLETE, "mark": self._count}
        keys = self._rng.sample(levels[0], self._rng.randint(1, min(3, len(levels[0]))))
        # Numbers between the usual ones make ties and near misses.
        keys += [self._rng.randrange(1, 200) for _ in range(self._rng.random() < 0.3)]
        return {str(key): self.file(levels[1:]) for key in dict.fromkeys(keys)}


_COMPLETE = dict.fromkeys(
    ("block_m", "block_n", "block_k", "split_k", "num_warps", "num_stages", "num_ctas", "group_size_m"), 2
) | {"max_nreg": None, "BLOCK_N": 16, "BLOCK_K": 16}


def calls_of_vllm(rng: random.Random) -> Iterator[Call]:
    """Yields calls of the dense ops and of the experts'."""
    while True:
        op = rng.choice(("shrink", "expand", *vllm.MOE_OPS))
        shrinks = "shrink" in op
        dims = {name: rng.choice(_SIZES[name]) for name in ("max_loras", "num_slices", "m")}
        hidden, rank = rng.choice(_SIZES["hidden"]) + rng.choice((0, 0, 1, 64)), rng.choice(_SIZES["rank"])
        dims |= {"k": hidden, "n": rank} if shrinks else {"k": rank, "n": hidden}
        if op in vllm.MOE_OPS:
            # The server passes the experts' sizes as they are.
            dims |= {"i": rng.choice(_SIZES["i"]), "k": rank, "n": hidden}
        elif op == "expand":
            dims["add_inputs"] = rng.randint(0, 1)
        yield Call("vllm", op, dims)


def calls_of_sglang(rng: random.Random) -> Iterator[Call]:
    """Yields calls of csgmv's ops."""
    while True:
        dims = {"K": rng.choice(_SIZES["hidden"][:3]), "R": rng.choice(_SIZES["rank"][:2]), "S": rng.randint(1, 3)}
        yield Call("sglang", rng.choice(("shrink", "expand")), {**dims, "chunk_size": rng.choice(_SIZES["chunk_size"])})


def levels_of(call: Call) -> tuple[tuple[int, ...], ...]:
    """Returns the values that the keys of a call's file are taken from, level by level."""
    if call.server == "sglang":
        return (_SIZES["chunk_size"],)
    large, small = ("k", "n") if "shrink" in call.op and "i" not in call.dims else ("n", "k")
    of = {**_SIZES, large: _SIZES["hidden"], small: _SIZES["rank"]}
    return tuple(of[name] for name in (vllm.MOE_LEVELS if "i" in call.dims else vllm.DENSE_LEVELS))


@dataclass(frozen=True)
class Comparison:
    """A call, and what the two sides make of it: an entry's mark, ``default`` or ``stops``."""

    call: Call
    keys: tuple[str, ...]
    ours: int | str
    theirs: int | str | None

    def __str__(self) -> str:
        return f"{self.call}: ours {self.ours} by way of {self.keys}, theirs {self.theirs}"


def compared(call: Call, folder: Path, tables: Mapping[str, Any]) -> Comparison:
    """Looks a call up by both sides."""
    found = servers.get(call.server).lookup(folder, GPU, call)
    ours: int | str = "stops" if found.failure else "default"
    if found.config is not None and found.origin != "default" and found.path is not None:
        entry = tables[found.path.relative_to(folder).as_posix()]
        for key in found.key_path:
            entry = entry[key]
        ours = entry["mark"]
    try:
        theirs: int | str | None = loaded(call, str(folder)).get("mark", "default")
    except Exception:  # whatever stops the server
        theirs = "stops"
    return Comparison(call, found.key_path, ours, theirs)


def comparisons(name: str, queries: int, rng: random.Random) -> Iterator[Comparison]:
    """Makes folders, and asks each some calls."""
    calls = calls_of_vllm(rng) if name == "vllm" else calls_of_sglang(rng)
    server, marked = servers.get(name), Marked(rng)
    for first in range(0, queries, _QUERIES_A_FOLDER):
        with tempfile.TemporaryDirectory() as place:
            asked = [next(calls) for _ in range(min(_QUERIES_A_FOLDER, queries - first))]
            tables = {}
            for call in asked:
                file = server.file_name(GPU, call)
                if rng.random() < 0.15:
                    continue
                if rng.random() < 0.2:
                    # A file of another Triton, which only one of the servers takes.
                    file = re.sub(r"triton_[0-9_]+", "triton_3_1_0", file)
                if file not in tables:
                    tables[file] = marked.file(levels_of(call))
                    (Path(place) / file).parent.mkdir(parents=True, exist_ok=True)
                    (Path(place) / file).write_text(json.dumps(tables[file]))
            yield from (compared(call, Path(place), tables) for call in asked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.cuda.get_device_name = lambda *_: GPU
    for name, modules in (("vllm", DENSE), ("sglang", CSGMV)):
        try:
            version = modules.version()
        except NotInstalledError:
            continue
        found = list(comparisons(name, arguments.queries, random.Random(arguments.seed)))
        wrong = [each for each in found if each.ours != each.theirs]
        kinds = Counter(each.theirs if isinstance(each.theirs, str) else "an entry" for each in found)
        print(*wrong[:10], sep="\n", end="\n" if wrong else "")
        print(f"{name} {version}: {len(found)} lookups ({dict(kinds)}), {len(wrong)} disagreements")


if __name__ == "__main__":
    main()
