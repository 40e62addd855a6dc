"""Widths and conditions of the tables: arithmetic over the names of config fields, such as `heads * head_dim`.

Of a field as the config has it, `name == 'text'` and `layer in name` ask, and `name[1]` takes one of its list;
`vision_config.depth` is one of a part of the config.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from autotune.errors import AutotuneError

Number = int | float


class Names(Protocol):
    """What names stand for."""

    def value(self, name: str) -> Number:
        """Returns the number; raises MissingFieldError where there is none."""

    def text(self, name: str) -> str:
        """Returns the config's own value as text; `None` where it has none."""

    def items(self, name: str) -> Sequence[object]:
        """Returns the config's own list; of one number a list of it."""

    def inside(self, part: str, name: str) -> Number:
        """Returns a number of a part of the config; raises MissingFieldError where there is none."""


_OPERATORS: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


class MissingFieldError(KeyError):
    """A config lacks a field; the one argument is its name."""


def evaluate(expression: str, names: Names) -> Number:
    """Returns what an expression comes to.

    Raises:
        MissingFieldError: If a name has no value and counts. Under `and`, `or` and `not` it is 0.
    """
    return _value(_parsed(expression), names)


@lru_cache
def _parsed(expression: str) -> ast.expr:
    return ast.parse(expression, mode="eval").body


def _value(node: ast.expr, names: Names) -> Number:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return names.value(name)
        case ast.Attribute(value=ast.Name(id=part), attr=name):
            return names.inside(part, name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, names), _value(right, names))
        case ast.Compare(left=left, ops=[ast.GtE()], comparators=[right]):
            return int(_value(left, names) >= _value(right, names))
        case ast.Compare(left=ast.Name(id=name), ops=[ast.Eq()], comparators=[ast.Constant(value=str() as text)]):
            return int(names.text(name) == text)
        case ast.Compare(left=left, ops=[ast.In()], comparators=[ast.Name(id=name)]):
            return int(_value(left, names) in names.items(name))
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=int() as place)):
            return _item(names.items(name), place, name)
        case ast.Call(func=ast.Name(id="int"), args=[argument]):
            return int(_value(argument, names))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return int(not _or_zero(operand, names))
        case ast.BoolOp(op=ast.And(), values=[*conditions, last]):
            return _value(last, names) if all(_or_zero(each, names) for each in conditions) else 0
        case ast.BoolOp(op=ast.Or(), values=[*choices, last]):
            return next((found for each in choices if (found := _or_zero(each, names))), None) or _value(last, names)
    raise AutotuneError(f"table of architectures: {ast.unparse(node)} is no arithmetic over names; fix it")


def _item(items: Sequence[object], place: int, name: str) -> Number:
    item = items[min(place, len(items) - 1)] if items else None
    if type(item) is not int or item < 0:
        raise MissingFieldError(name)
    return item


def _or_zero(node: ast.expr, names: Names) -> Number:
    try:
        return _value(node, names)
    except MissingFieldError:
        return 0
