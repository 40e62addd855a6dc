"""What the lookups of a planned model come to in a config folder: another shape's entry, a crash, or a default."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from autotune import servers
from autotune.contract import Call
from autotune.errors import one_of
from autotune.plan.plan import Plan
from autotune.servers import Lookup
from autotune.servers.finding import Effect, Finding
from autotune.servers.sglang import facts as sglang
from autotune.servers.shapes import Shape
from autotune.servers.vllm import facts as vllm
from autotune.servers.vllm.captures import crash

_WRONG_SHAPE = ("k", "n", "i")


_Problem = tuple[str, tuple[str, ...], str, Effect, str]
"""File, key, defect, effect, message."""


@dataclass(frozen=True)
class _Server:
    """A server that may read the folder: its GPU, as file names spell it, and for SGLang its Triton version."""

    gpu: str
    triton: str | None = None


def check(directory: Path, plan: Plan) -> list[Finding]:
    """Returns one finding for each shape and way in which it goes wrong, the sizes it goes wrong at together."""
    rules = servers.get(plan.serving.server)
    sizes: dict[_Problem, list[int]] = {}
    for server in _servers(directory, plan.serving.server):
        for shape in plan.shapes:
            for size in plan.sizes:
                if shape.max_size is not None and size > shape.max_size:
                    continue
                call = replace(shape.call(size), triton=server.triton)
                found = rules.lookup(directory, server.gpu, call)
                file = found.path.relative_to(directory).as_posix() if found.path else ""
                for defect, effect, message in _problems(shape, call, found, size):
                    sizes.setdefault((file, _key(shape), defect, effect, message), []).append(size)
        for size in plan.sizes:
            if problem := _experts_problem(directory, plan, server.gpu, size):
                sizes.setdefault(problem, []).append(size)
    return [
        Finding(file, key, defect, effect, f"{message} ({plan.shapes[0].size} {one_of(sorted(set(at)))})")
        for (file, key, defect, effect, message), at in sizes.items()
    ]


def _servers(directory: Path, server: str) -> list[_Server]:
    """Returns those whose files are there."""
    if server == "vllm":
        names = (vllm.FILE.fullmatch(path.name) for path in sorted(directory.glob("*.json")))
        return [_Server(gpu) for gpu in dict.fromkeys(match["gpu"] for match in names if match)]
    found: dict[_Server, None] = {}
    for path in sorted(directory.glob("csgmv_configs/triton_*/*.json")):
        if match := sglang.FILE.fullmatch(path.name):
            version = path.parent.name.removeprefix("triton_").replace("_", ".")
            found[_Server(match["device"], version)] = None
    return list(found)


def _key(shape: Shape) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in shape.dims.items() if name != "add_inputs")


def _experts_problem(directory: Path, plan: Plan, gpu: str, size: int) -> _Problem | None:
    """Finds another block_m in w2 than in w13, where they look up different sizes and only the plan knows which (A6,
    A7)."""
    by_op = {shape.op: shape for shape in plan.shapes}
    w13, w2 = by_op.get(vllm.W13_SHRINK), by_op.get(vllm.W2_SHRINK)
    if w13 is None or w2 is None or not w13.occurs(size) or all(w13.dims[d] == w2.dims[d] for d in _WRONG_SHAPE):
        return None
    one, other = (servers.get("vllm").lookup(directory, gpu, shape.call(size)) for shape in (w13, w2))
    blocks = [found.config["block_m"] for found in (one, other) if found.config]
    if len(set(blocks)) < 2 or one.path is None:
        return None
    message = (
        f"{one_of(w13.layers)}: block_m is {blocks[0]}, but {blocks[1]} in {one_of(_key(w2))} of W2, which reuses "
        "W13's blocks: wrong results without an error; use one"
    )
    return one.path.relative_to(directory).as_posix(), _key(w13), "block_m differs", "silent corruption", message


def _problems(shape: Shape, call: Call, found: Lookup, size: int) -> Iterator[tuple[str, Effect, str]]:
    layers = one_of(shape.layers)
    if found.failure is not None:
        at = "/".join(found.key_path) or "the top"
        # Layers of every number of slices run before the first request, and a file is read as a whole.
        early = shape.size != "m" or found.failure.level in ("num_slices", "file")
        effect = crash(None if early else size)
        yield "lookup fails", effect, f"{layers}: at {at}: {found.failure.error}: {found.failure.message}"
        return
    if found.origin == "default":
        yield "no file", "slower", f"{layers}: finds no file and takes the server's default; tune the shape"
        return
    for step in found.steps:
        if step.match != "nearest":
            continue
        if step.level in _WRONG_SHAPE:
            yield (
                "another shape's entry",
                "silent wrong shape",
                f"{layers}: looks up {step.level} {step.wanted} and takes the entry of {step.taken}; add its own",
            )
        elif step.level == "max_loras":
            yield (
                "another max_loras",
                "slower",
                f"{layers}: looks up max_loras {step.wanted} and takes the entries of {step.taken}, measured with "
                "another grid; add its own",
            )
        elif step.level == "chunk_size":
            yield (
                "another chunk size",
                "slower",
                f"{layers}: looks up chunk size {step.wanted} and takes the entry of {step.taken}; add its own",
            )
    for warning in found.warnings:
        yield "lookup warns", "slower", f"{layers}: {warning}"
