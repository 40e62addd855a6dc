"""Tells what the lookups of a planned model come to in a config folder: another shape's entry, a crash, or a
default."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from autotune import servers
from autotune.errors import one_of
from autotune.plan.plan import Plan
from autotune.servers import Lookup
from autotune.servers.checking import Checker
from autotune.servers.files import read_json
from autotune.servers.finding import Finding
from autotune.servers.shapes import Shape


def check_lookups(directory: Path, plan: Plan, by_plug_in: bool = False) -> list[Finding]:
    """Finds each shape and way in which it goes wrong, the sizes at which it does so together.

    Args:
        by_plug_in: The folder is read by the server's plug-in alone.
    """
    server = servers.get(plan.serving.server)
    sizes: dict[Finding, list[int]] = {}
    read = cache(read_json)
    shapes = [shape for shape in plan.shapes if not by_plug_in or server.checker.plug_in_reads(shape.op)]
    for reader in server.checker.readers(directory):
        lookup = partial(server.lookup, directory, reader.gpu, read=read, by_plug_in=by_plug_in)
        for shape in shapes:
            for size in _sizes(shape, plan):
                found = lookup(replace(shape.call(size), triton=reader.triton))
                for finding in _findings(directory, server.checker, shape, size, found, _remedy(shape, plan)):
                    sizes.setdefault(finding, []).append(size)
        for size in plan.sizes:
            for finding in server.checker.contradictions(directory, shapes, size, lookup):
                sizes.setdefault(finding, []).append(size)
    return [
        replace(finding, message=f"{finding.message} ({plan.shapes[0].size} {one_of(sorted(set(at)))})")
        for finding, at in sizes.items()
    ]


def _sizes(shape: Shape, plan: Plan) -> list[int]:
    """Returns the sizes to look a shape up at: those to tune where its entry is read, else others that files answer."""
    return [size for size in plan.sizes if shape.occurs(size)] or list(filter(shape.occurs, plan.answered))


def _remedy(shape: Shape, plan: Plan) -> str:
    """Says what to do where there is no file; the ops that read a family of files are tuned as one of them."""
    lone = servers.get(shape.server).family(shape.op) is None
    if lone or any(each.kernels for each in plan.shapes if each.layers == shape.layers):
        return "tune the shape"
    return "no study can be made for it: compare with bench serve, or serve without a folder"


def _findings(
    directory: Path, checker: Checker, shape: Shape, size: int, found: Lookup, remedy: str
) -> Iterator[Finding]:
    layers = one_of(shape.layers)
    file = found.path.relative_to(directory).as_posix() if found.path else ""
    finding = partial(Finding, file, shape.labels)
    if found.failure is not None:
        at = "/".join(found.key_path) or "the top"
        message = f"{layers}: at {at}: {found.failure.error}: {found.failure.message}"
        yield finding("lookup fails", checker.crash(found.failure, size), message)
        return
    if found.origin == "default":
        yield finding("no file", "slower", f"{layers}: finds no file and takes the default; {remedy}")
        return
    for step in found.steps:
        if step.match == "nearest" and (miss := checker.miss(step)):
            yield finding(miss.defect, miss.effect, f"{layers}: {miss.message}")
    for warning in found.warnings:
        yield finding("lookup warns", "slower", f"{layers}: {warning}")
