"""Tells whether a wrapped layer is ever called through its wrapper, from the code of the modules that hold it.

A convolution's weights are used without a call, and the experts' runner keeps a router of its own (contracts A10): such
layers are wrapped, and their LoRA never runs.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
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
            if name.isdecimal() or name in whole or _reached(holder, name, model):
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


def _runner_holds(base: Any, model: Any) -> bool:
    runners = (holder for holder in model.modules() if hasattr(holder, "routed_experts"))
    return base is not None and any(child is base for runner in runners for child in runner._modules.values())


@cache
def _names(cls: type[object]) -> tuple[frozenset[str], frozenset[str]]:
    """Returns the attributes of `self` that a class's methods use as a whole (``self.x(...)``, not ``self.x.weight``),
    and all that its code names.

    What is done where modules are made and weights are loaded is no use.
    """
    whole, all_names = set[str](), set[str]()
    for base in cls.__mro__:
        if base.__module__.startswith(("torch.", "builtins")):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and _of_self(node):
                all_names.add(node.attr)
            if isinstance(node, ast.FunctionDef) and node.name not in ("__init__", "load_weights"):
                whole |= _uses(node)
    return frozenset(whole), frozenset(all_names)


def _uses(function: ast.FunctionDef) -> set[str]:
    looked_into = {
        id(node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and node.attr not in ("forward", "__call__")
    }
    used = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in looked_into
    ]
    return {node.attr if _of_self(node) else f"{_last_name(node.value)}.{node.attr}" for node in used}


def _last_name(node: ast.expr) -> str:
    """Returns the name of what is looked into: ``indexer`` for ``self.indexer`` and for a local of that name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"
