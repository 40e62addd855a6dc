"""What a server really runs with the results of studies, where that is not obvious; their kernels tell."""

from __future__ import annotations

from collections.abc import Iterable

from autotune.errors import InputError
from autotune.study.study import KernelStudy


def serving_note(study: KernelStudy) -> str | None:
    """Returns what to know of the study's result in service; None where there is nothing to say, or the kernel that
    would say it cannot be loaded here."""
    try:
        kernel = study.kernel
    except InputError:
        return None
    return kernel.serving_note(study.problem, grouped=study.spec.group is not None)


def serving_notes(studies: Iterable[KernelStudy]) -> list[str]:
    """Returns the notes of several studies, each once."""
    return list(dict.fromkeys(note for study in studies if (note := serving_note(study))))
