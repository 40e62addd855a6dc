"""Loads commands when they are run: what their group's help says of them is told here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True)
class LazyCommand:
    """A command of a module that is not loaded yet.

    Attributes:
        module: The module under ``autotune.cli``.
        attribute: The command's name in it.
        help: The line that the group's help has of it.
    """

    module: str
    attribute: str
    help: str

    def load(self) -> click.Command:
        found: click.Command = getattr(importlib.import_module(f"autotune.cli.{self.module}"), self.attribute)
        return found


class LazyGroup(click.Group):
    """A group that loads a command only to run it, or to show its own help.

    Args:
        lazy: The commands by their names, in the order of the help.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, LazyCommand], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.lazy[cmd_name].load() if cmd_name in self.lazy else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in self.lazy.items()])
