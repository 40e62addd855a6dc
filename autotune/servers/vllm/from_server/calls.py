"""Tells whether a wrapped layer is ever called through its wrapper, from the code of the modules that hold it.

A convolution's weights are used without a call, and the experts' runner keeps a router of its own (contracts A10): such
layers are wrapped, and their LoRA never runs.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import Any


def is_called(layer: Any, model: Any) -> bool:
    """Tells whether any module that holds the layer uses it, other than for its attributes.

    A router that the experts' runner holds is not, whatever the code of its block says: the runner has the layer inside
    the wrapper. A layer that no code names, as where code is made at run time, counts as called.
    """
    if _runner_holds(getattr(layer, "base_layer", None), model):
        return False
    named = False
    for holder in model.modules():
        for name, child in holder._modules.items():
            if child is not layer:
                continue
            whole, all_names = _names(holder.__class__)
            if name.isdecimal() or name in whole or _reached(holder, name, model) or name in _used_beside(holder):
                return True
            named = named or name in all_names
    return not named


def _reached(holder: Any, name: str, model: Any) -> bool:
    """Tells whether a module that has the holder calls through it: ``self.holder.name(...)``, or by a local."""
    for parent in model.modules():
        for its_name, child in parent._modules.items():
            if child is holder and f"{its_name}.{name}" in _names(parent.__class__)[0]:
                return True
    return False


def _used_beside(holder: Any) -> frozenset[str]:
    """Returns what the plain classes of the holder's file use of other objects (``owner.x(...)``), such as itself."""
    return _used_by_plain_classes(sys.modules[type(holder).__module__])


@cache
def _used_by_plain_classes(file: ModuleType) -> frozenset[str]:
    used = (name for each in vars(file).values() if _is_plain_class(each, file) for name in _names(each)[0])
    return frozenset(name.rpartition(".")[2] for name in used if "." in name)


def _is_plain_class(each: Any, file: ModuleType) -> bool:
    """Tells whether this is a class that the file defines, and none of torch's modules."""
    if not inspect.isclass(each) or each.__module__ != file.__name__:
        return False
    return all(base.__name__ != "Module" for base in each.__mro__)


def _runner_holds(base: Any, model: Any) -> bool:
    runners = (holder for holder in model.modules() if hasattr(holder, "routed_experts"))
    return base is not None and any(child is base for runner in runners for child in runner._modules.values())


@cache
def _names(cls: type[Any]) -> tuple[frozenset[str], frozenset[str]]:
    """Returns the attributes of `self` that a class's methods use as a whole (``self.x(...)``, not ``self.x.weight``),
    and all that its code names.

    What is done where modules are made and weights are loaded is no use.
    """
    whole, all_names = set[str](), set[str]()
    nodes = [node for tree in _trees(cls) for node in ast.walk(tree)]
    methods: dict[str, ast.FunctionDef] = {}
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            methods.setdefault(node.name, node)
    for node in nodes:
        if isinstance(node, ast.Attribute) and _of_self(node):
            all_names.add(node.attr)
        if isinstance(node, ast.FunctionDef) and node.name not in ("__init__", "load_weights"):
            whole |= _uses(node, methods)
    return frozenset(whole), frozenset(all_names)


def _trees(cls: type[Any]) -> Iterator[ast.AST]:
    """Yields the code of a class and of those that it is made of, apart from torch's."""
    for base in cls.__mro__:
        if base.__module__.startswith(("torch.", "builtins")):
            continue
        try:
            yield ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):
            continue


def _uses(function: ast.FunctionDef, methods: Mapping[str, ast.FunctionDef]) -> set[str]:
    looked_into = {
        id(node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and node.attr not in ("forward", "__call__")
    }
    looked_into |= {id(node) for node in _handed_to_be_looked_into(function, methods)}
    used = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in looked_into
    ]
    return {node.attr if _of_self(node) else f"{_last_name(node.value)}.{node.attr}" for node in used}


def _handed_to_be_looked_into(function: ast.FunctionDef, methods: Mapping[str, ast.FunctionDef]) -> Iterator[ast.expr]:
    """Yields what a function hands to a method of its own, or to a function inside, that looks into it alone
    (``projection.weight``)."""
    for call in ast.walk(function):
        if not isinstance(call, ast.Call):
            continue
        of_self = isinstance(call.func, ast.Attribute) and _of_self(call.func)
        if not (of_self or isinstance(call.func, ast.Name)) or (method := methods.get(_last_name(call.func))) is None:
            continue
        names = [argument.arg for argument in method.args.args[of_self:]]
        handed = [*zip(names, call.args, strict=False), *((each.arg, each.value) for each in call.keywords)]
        yield from (value for name, value in handed if name is not None and not _is_whole(name, method))


def _is_whole(name: str, function: ast.FunctionDef) -> bool:
    """Tells whether a function uses a parameter other than for its attributes, or has none of that name."""
    arguments = function.args
    if name not in {each.arg for each in (*arguments.args, *arguments.kwonlyargs)}:
        return True
    looked_into = {
        id(node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and node.attr not in ("forward", "__call__")
    }
    return any(
        isinstance(node, ast.Name) and node.id == name and id(node) not in looked_into for node in ast.walk(function)
    )


def _last_name(node: ast.expr) -> str:
    """Returns the name of what is looked into: ``indexer`` for ``self.indexer`` and for a local of that name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"
