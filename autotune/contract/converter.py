"""Turns dataclasses into JSON and back: one converter knows all that JSON spells otherwise than the classes do.

A room whose class needs a rule of its own adds it here from beside the class.
"""

from __future__ import annotations

from typing import Any, TypeVar

from cattrs import Converter

from autotune.contract.call import Call

T = TypeVar("T")

CONVERTER = Converter(unstruct_collection_overrides={tuple: list}, detailed_validation=False)


def to_json(value: Any) -> Any:
    """Turns a dataclass, or a collection of them, into what `json` writes."""
    return CONVERTER.unstructure(value)


def from_json(kind: type[T], data: Any) -> T:
    """Makes a dataclass of what `to_json` gave; a key that is absent takes the field's default.

    Raises:
        Exception: As cattrs raises, if the data are of something else.
    """
    return CONVERTER.structure(data, kind)


def _as_stored(value: Any, _kind: object) -> Any:
    """Keeps a number as JSON has it: made a float, a whole number would be printed in another way.

    Raises:
        TypeError: If it is no number.
    """
    if not isinstance(value, int | float):
        raise TypeError(f"got {value!r}, allowed: a number")
    return value


CONVERTER.register_structure_hook(float, _as_stored)
CONVERTER.register_structure_hook(int, _as_stored)

CONVERTER.register_unstructure_hook(Call, Call.to_json)
CONVERTER.register_structure_hook(Call, lambda data, _kind: Call.from_json(data))
