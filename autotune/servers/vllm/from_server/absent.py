"""Stands in for packages that process images and sound or call the driver, where they are not installed: no layer is
made of them."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

PACKAGES = ("torchvision", "cv2", "cuda")
"""Packages that the server imports wherever it runs."""


class _AnyName(type):
    """The class of a name that may be called, subclassed, subscripted and looked into."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __iter__(cls) -> Iterator[Any]:
        return iter(())


class Anything(metaclass=_AnyName):
    """A class, and its objects, of what is absent: all that is asked of them is there, and false."""

    def __init__(self, *_: Any, **__: Any) -> None:
        return None

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything


class AbsentModule(types.ModuleType):
    """A module of an absent package."""

    __version__ = "999"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds packages that no other finder does."""

    def __init__(self, packages: tuple[str, ...]) -> None:
        self._packages = packages

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        known = fullname.partition(".")[0] in self._packages
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True) if known else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return AbsentModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        return None


def stand_in_for_packages(*packages: str) -> None:
    """Lets imports of these packages succeed where they are absent, in this process."""
    sys.meta_path.append(_Finder(packages))
