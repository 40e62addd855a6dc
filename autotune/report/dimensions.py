"""Makes columns of a table from the sizes of studies: one a dimension, without those that say nothing."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.study.spec import StudySpec

_SHORT = {"num_slices": "slices", "chunk_size": "chunk", "max_loras": "loras", "intermediate": "i", "add_inputs": "add"}


def columns_of(specs: Sequence[StudySpec]) -> tuple[list[str], list[list[str]]]:
    """Returns the names of the columns, and a row for each spec.

    The kernel comes first; a dimension of which all have the same value is left out if there are several.
    """
    sizes = [{"kernel": _kernel(spec), **dimensions(spec)} for spec in specs]
    names = list(dict.fromkeys(name for each in sizes for name in each))
    telling = [name for name in names if len({each.get(name) for each in sizes}) > 1 or len(specs) == 1]
    kept = [name for name in names if name in telling or name == "kernel"]
    return kept, [["" if (value := each.get(name)) is None else str(value) for name in kept] for each in sizes]


def dimensions(spec: StudySpec) -> dict[str, object]:
    """Returns a study's sizes by short names: those of its server's lookup, else all of its problem."""
    sizes = spec.call.dims if spec.call else spec.problem
    return {_SHORT.get(name, name): value for name, value in sizes.items()}


def label(spec: StudySpec) -> str:
    """Names a study shortly, by its kernel and sizes: ``lora_shrink m16 k5120 n16``."""
    return " ".join([_kernel(spec), *(f"{name}{value}" for name, value in dimensions(spec).items())])


def _kernel(spec: StudySpec) -> str:
    """Returns the kernel's name; of one in a file of the user's the object's."""
    return spec.kernel.rpartition(":")[2]
