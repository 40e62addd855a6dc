"""Widths and conditions of the tables: arithmetic over the names of config fields, such as `heads * head_dim`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache

from autotune.errors import AutotuneError

Number = int | float

_OPERATORS: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


class MissingFieldError(KeyError):
    """A config lacks a field; the one argument is its name."""


def evaluate(expression: str, value_of: Callable[[str], Number]) -> Number:
    """Returns what an expression comes to.

    Args:
        value_of: Returns the value of a name.

    Raises:
        MissingFieldError: If a name has no value and counts. Under `and`, `or` and `not` it is 0.
    """
    return _value(_parsed(expression), value_of)


@lru_cache
def _parsed(expression: str) -> ast.expr:
    return ast.parse(expression, mode="eval").body


def _value(node: ast.expr, value_of: Callable[[str], Number]) -> Number:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return value_of(name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, value_of), _value(right, value_of))
        case ast.Compare(left=left, ops=[ast.GtE()], comparators=[right]):
            return int(_value(left, value_of) >= _value(right, value_of))
        case ast.Call(func=ast.Name(id="int"), args=[argument]):
            return int(_value(argument, value_of))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return int(not _or_zero(operand, value_of))
        case ast.BoolOp(op=ast.And(), values=[*conditions, last]):
            return _value(last, value_of) if all(_or_zero(each, value_of) for each in conditions) else 0
        case ast.BoolOp(op=ast.Or(), values=[*choices, last]):
            return next((found for each in choices if (found := _or_zero(each, value_of))), None) or _value(
                last, value_of
            )
    raise AutotuneError(f"table of architectures: {ast.unparse(node)} is no arithmetic over names; mend it")


def _or_zero(node: ast.expr, value_of: Callable[[str], Number]) -> Number:
    try:
        return _value(node, value_of)
    except MissingFieldError:
        return 0
