"""Makes columns of a table from the sizes of studies: one a dimension, without those that say nothing."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.study.spec import StudySpec

_SHORT = {"num_slices": "slices", "chunk_size": "chunk", "max_loras": "loras", "intermediate": "i", "add_inputs": "add"}


def columns_of(specs: Sequence[StudySpec]) -> tuple[list[str], list[list[str]]]:
    """Returns the names of the columns, and a row for each spec.

    The kernel comes first; a dimension of which all have the same value is left out if there are several. Where some
    studies are of one lookup, what else tells their problems apart follows.
    """
    sizes = [{"kernel": _kernel(spec), **dimensions(spec)} for spec in specs]
    told = _telling_apart(specs, [repr(each) for each in sizes])
    for each, spec in zip(sizes, specs, strict=True):
        each |= {name: _text(spec.problem.get(name)) for name in told}
    names = list(dict.fromkeys(name for each in sizes for name in each))
    telling = [name for name in names if len({each.get(name) for each in sizes}) > 1 or len(specs) == 1]
    kept = [name for name in names if name in telling or name == "kernel"]
    return kept, [["" if (value := each.get(name)) is None else str(value) for name in kept] for each in sizes]


def _telling_apart(specs: Sequence[StudySpec], rows: Sequence[str]) -> list[str]:
    """Returns the fields of problems that are not the same of studies with equal rows: the words among them, if there
    are any, which say more than a number does."""
    alike: dict[str, list[StudySpec]] = {}
    for row, spec in zip(rows, specs, strict=True):
        alike.setdefault(row, []).append(spec)
    found: dict[str, bool] = {}
    for first, *others in alike.values():
        for name, value in first.problem.items():
            if any(each.problem.get(name) != value for each in others):
                found[name] = isinstance(value, str)
    return [name for name, is_word in found.items() if is_word] or list(found)


def _text(value: object) -> object:
    return "x".join(map(str, value)) if isinstance(value, list) else value


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
