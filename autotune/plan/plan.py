"""Makes the plan itself: every lookup of a served model, the studies for them in a good order, and what to mind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from autotune import servers
from autotune.contract import Call, dtype_name, groups
from autotune.errors import InputError, one_of
from autotune.model.shape import ModelShape
from autotune.plan import roads
from autotune.plan.roads import Road
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from autotune.servers.shapes import Shape, merged

DTYPES = ("float16", "bfloat16")
DEFAULT_DTYPE = "bfloat16"
SMALL_STUDY_S = 2.0
LARGE_STUDY_S = 3.0
"""What a study took on an H100 with 16 cores (docs/results.md): from a few tokens up, and for the largest batches. One
of prompts and decode batches takes half as long again as one of prompts (H200)."""

_LARGE_TOKENS = 4096


@dataclass(frozen=True)
class Entry:
    """One study to be, or the studies of a group.

    Attributes:
        kernel: Registry name of the kernel, or name of a group of kernels.
        flags: What `problem_from_flags` is given.
        call: What the server looks up, of a group its first member; the kernel must agree.
        layers: Labels of the layers that look it up.
        count: How many times a forward pass looks it up.
        weight: Share of the traffic that looks it up; 1 where nothing is known.
    """

    kernel: str
    flags: Mapping[str, Any]
    call: Call
    layers: tuple[str, ...]
    count: int
    weight: float = 1.0

    @property
    def members(self) -> tuple[str, ...]:
        """The kernels of its studies: of a group those of the path that the server takes."""
        group = groups.find(self.kernel)
        return group.members[group.path(groups.AUTO, self.flags)] if group else (self.kernel,)

    @property
    def studies(self) -> int:
        return len(self.members)

    @property
    def seconds(self) -> float:
        """What it will take, roughly."""
        size = self.call.dims.get("m", 0)
        return self.studies * (LARGE_STUDY_S if size >= _LARGE_TOKENS else SMALL_STUDY_S)

    def to_json(self) -> dict[str, Any]:
        return {
            "kernel": self.kernel,
            "flags": dict(self.flags),
            "call": self.call.to_json(),
            "layers": list(self.layers),
            "weight": self.weight,
        }


class PlanSubject(Protocol):
    """What a plan is of: a model, or a server that was traced."""

    @property
    def name(self) -> str: ...

    @property
    def origin(self) -> str:
        """Where its sizes are from."""

    def to_json(self) -> dict[str, Any]:
        """Returns what is known of it."""


@dataclass(frozen=True)
class Plan:
    """All lookups of a served model.

    Attributes:
        shapes: The distinct lookups, apart from the batch's size.
        sizes: Sizes to tune, and the share of the traffic that looks each up: token counts, or chunk sizes.
        raced: Sizes at which the winners of the neighbouring sizes and the default are raced.
        answered: Sizes that the files hold: besides those to tune the automatic ones, so that no batch of another kind
            runs a config that was only timed far from it.
        dtype: Of the adapters' weights.
        variant: A few characters that stand for all that is not as by default; empty where nothing is.
        warnings: What follows from the server's rules; one line each.
        advice: What helps more than tuning; one line each.
        placeholders: What files must answer, too, since not all of the model's lookups are known.
    """

    model: PlanSubject
    serving: Serving
    shapes: tuple[Shape, ...]
    sizes: Mapping[int, float]
    raced: tuple[int, ...]
    answered: tuple[int, ...]
    dtype: str
    variant: str
    warnings: tuple[str, ...]
    advice: tuple[str, ...]
    placeholders: tuple[Shape, ...] = ()

    @property
    def name(self) -> str:
        """Short, and different for plans that come to different studies."""
        s = self.serving
        parts = [self.model.name, s.server, f"tp{s.tp}", f"r{s.rank}", f"l{s.max_loras}"]
        parts += [
            word
            for word, on in (
                (f"dp{s.data_parallel}", s.data_parallel > 1),
                ("fs", s.fully_sharded),
                ("ep", s.expert_parallel),
                ("dual", s.dual_stream),
                ("mixed", s.mixed_moe_format),
                ("shared", s.moe_shared_loras),
                ("apart", s.shared_experts_apart),
                ("towers", s.tower_connector),
            )
            if on
        ]
        parts += [word for word in (self.dtype, self.variant) if word not in (DEFAULT_DTYPE, "")]
        return "-".join(parts)

    @property
    def entries(self) -> list[Entry]:
        """The studies, each right behind its nearest neighbour, shape by shape, ascending; much traffic first."""
        return self._searched(self.shapes)

    def launched_by_plugin(self, entries: Iterable[Entry]) -> list[Entry]:
        """Returns those entries whose built-in kernel the plug-in launches: nobody reads the files of another."""
        kernels = servers.get(self.serving.server).plugin_kernels
        return [entry for entry in entries if entry.kernel in kernels]

    @property
    def in_one_launch(self) -> list[Entry]:
        """The studies of what the plug-in alone can launch for two lookups at once, in the order of `entries`."""
        return self._searched(shape for shape in self._of_plugin if not self._replaces_one(shape))

    @property
    def replacements(self) -> list[Entry]:
        """The studies of what the plug-in launches for a single lookup by a kernel of another name. They lack the flags
        that follow from what the server launches (`autotune.servers.protocol.Server.following_flags`)."""
        return self._searched(filter(self._replaces_one, self._of_plugin))

    @property
    def left_to_server(self) -> list[Entry]:
        """The studies of which the plug-in launches no kernel, neither the same nor another."""
        shapes = [shape for shape in self.shapes if not any(map(self._replaces_one, shape.together))]
        found = self._searched(shapes)
        launched = self.launched_by_plugin(found)
        return [entry for entry in found if entry not in launched]

    @property
    def _of_plugin(self) -> list[Shape]:
        return merged(each for shape in self.shapes for each in shape.together)

    def _replaces_one(self, shape: Shape) -> bool:
        """Tells whether a shape of the plug-in's does the work of one lookup alone."""
        return len(servers.get(self.serving.server).replaces(shape.call(1))) == 1

    @property
    def races(self) -> list[Entry]:
        """The studies that are only raced, size by size."""
        return [
            entry
            for size in self.raced
            for shape in self.shapes
            if shape.occurs(size)
            for entry in self._of_shape(shape, size, 1.0)
        ]

    def size_of(self, call: Call) -> int:
        """Returns a lookup's size: its token count, or its chunk size."""
        return call.dims[self.shapes[0].size]

    @property
    def required(self) -> list[Call]:
        """Every lookup that the files must answer, measured or not."""
        return servers.get(self.serving.server).planner.required((*self.shapes, *self.placeholders), self.answered)

    def to_json(self) -> dict[str, Any]:
        """Returns all but its studies, which depend on whose kernels are timed (`autotune.plan.work`)."""
        return {
            "name": self.name,
            "model": self.model.to_json(),
            "serving": {"runtime" if name == "server" else name: value for name, value in asdict(self.serving).items()},
            "dtype": self.dtype,
            "shapes": [
                {
                    "op": shape.op,
                    **shape.dims,
                    "layers": list(shape.layers),
                    "kernels": list(shape.kernels),
                    **({} if shape.shares is None else {"sizes": _keyed(shape.shares)}),
                }
                for shape in self.shapes
            ],
            "size": self.shapes[0].size,
            "sizes": _keyed(self.sizes),
            "raced": list(self.raced),
            "answered": list(self.answered),
            "warnings": list(self.warnings),
            "advice": list(self.advice),
        }

    def _searched(self, shapes: Iterable[Shape]) -> list[Entry]:
        found = [
            entry
            for shape in shapes
            for size, weight in (self.sizes if shape.shares is None else shape.shares).items()
            if shape.occurs(size)
            for entry in self._of_shape(shape, size, weight)
        ]
        return sorted(found, key=lambda entry: -entry.weight)

    def _of_shape(self, shape: Shape, size: int, weight: float) -> Iterator[Entry]:
        flags = {**shape.flags, shape.size: size, "dtype": self.dtype}
        for kernel in shape.kernels:
            yield Entry(kernel, flags, shape.call(size), shape.layers, shape.count, weight)


def _keyed(sizes: Mapping[int, float]) -> dict[str, float]:
    return {str(size): weight for size, weight in sizes.items()}


def make(
    model: ModelShape, serving: Serving, batches: Batches, dtype: str = DEFAULT_DTYPE, road: Road = "tables"
) -> Plan:
    """Plans a model that is served so.

    Args:
        road: Where the lookups are from.

    Raises:
        InputError: If it cannot be served so, or flags contradict each other.
    """
    planner = servers.get(serving.server).planner
    planner.check(serving)
    dtype = dtype_name(dtype)
    if dtype not in DTYPES:
        raise InputError(f"--dtype: got {dtype!r}, allowed: {one_of(DTYPES)}; give one of them")
    found, sizes = roads.find(model, serving, batches, road), planner.sizes(batches)
    shapes = found.shapes
    if not shapes:
        raise _without_lookups(model, serving)
    warnings = planner.warnings(model, serving, batches, shapes, sizes.shares)
    return Plan(
        model=model,
        serving=serving,
        shapes=shapes,
        sizes=sizes.shares,
        raced=sizes.raced,
        answered=sizes.answered,
        dtype=dtype,
        variant=_variant(model, serving, batches),
        warnings=(*found.notes, *_of_another_dtype(model, dtype), *warnings),
        advice=tuple(planner.advice(serving, batches)),
        placeholders=found.placeholders,
    )


def _without_lookups(model: ModelShape, serving: Serving) -> InputError:
    """Returns the error of a plan that comes to no lookup."""
    if serving.target_modules is None:
        return InputError(
            f"{model.name}: comes to no lookup, since {serving.server} wraps none of its layers for LoRA; plan another "
            "model"
        )
    return InputError(
        f"--target-modules: got {one_of(serving.target_modules) or 'none'}, none of which {model.name} has on this "
        "server; leave it out for all modules"
    )


def _of_another_dtype(model: ModelShape, dtype: str) -> Iterator[str]:
    """Says if adapters are planned in another half precision than the model is in."""
    if model.dtype in DTYPES and model.dtype != dtype:
        yield (
            f"adapters are timed in {dtype}, and the model's config says {model.dtype}, which servers take for both "
            "unless told otherwise: give the server's as --dtype"
        )


def _variant(model: ModelShape, serving: Serving, batches: Batches) -> str:
    """Returns the variant of a plan (see `Plan`); what its name spells out is no part of it."""
    usual = asdict(Batches())
    unusual: dict[str, Any] = {name: value for name, value in asdict(batches).items() if value != usual[name]}
    for name in {"m_values", "chunk_sizes"} & set(unusual):
        unusual[name] = sorted(set(unusual[name]))
    if serving.target_modules is not None:
        unusual["target_modules"] = sorted(set(serving.target_modules))
    if model.digest:
        unusual["config"] = model.digest
    if model.overrides:
        unusual["overrides"] = dict(model.overrides)
    return hashlib.sha256(json.dumps(unusual, sort_keys=True).encode()).hexdigest()[:6] if unusual else ""
