"""``--serve-command`` fills the flags of a command by what starts the server, and refuses what contradicts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import click
from click.core import ParameterSource

from autotune import servers
from autotune.cli.flags.table import FLAGS
from autotune.errors import InputError
from autotune.servers import ServeCommand

_OPTION = "serve_command"
_FIELD_OF = {"plan_model": "model"}
"""Parameters of commands that another field of the server's command fills."""


@dataclass(frozen=True)
class Filling:
    """What the server's command fills of a command's parameters.

    Attributes:
        read: What the command says; None where there is none.
        values: By parameter.
    """

    read: ServeCommand | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, command: click.Command, ctx: click.Context, args: list[str]) -> Filling:
        """Reads the server's command off the arguments, before any of them is checked.

        Raises:
            InputError: If it cannot be read.
        """
        if all(parameter.name != _OPTION for parameter in command.params) or ctx.resilient_parsing:
            return cls()
        given, _, _ = command.make_parser(ctx).parse_args(list(args))
        if not isinstance(text := given.get(_OPTION), str):
            return cls()
        read = servers.read_serve_command(text)
        known = {**read.defaults, **{name: value for name, (value, _) in read.said.items()}, "server": read.server}
        names = (parameter.name or "" for parameter in command.params)
        values = {name: known[_field(name)] for name in names if _field(name) in known}
        return cls(read, {name: value for name, value in values.items() if value is not False})

    def check(self, ctx: click.Context) -> None:
        """Compares what was read with what is given beside it.

        Raises:
            InputError: If a flag says otherwise; names both.
        """
        if self.read is None:
            return
        for name, value in ctx.params.items():
            if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                self._compare(name, value)

    def _compare(self, name: str, value: Any) -> None:
        read = self.read
        if read is None or name == _OPTION:
            return
        said = {**read.said, "server": (read.server, f"a command of {read.server}")}
        expected, words = said.get(_field(name), (value, ""))
        if value != expected:
            raise InputError(
                f"{_spelled(name)}: got {_text(value)}, but --serve-command says {words}; correct one of them, or "
                f"leave {_spelled(name)} out"
            )

    def text(self, ctx: click.Context) -> str:
        """Says what was read, what of it this command has no use for, and what was ignored."""
        read = self.read
        if read is None:
            return ""
        used = {_field(name) for name in ctx.params}
        taken = [_shown(name, value) for name, (value, _) in read.said.items() if name in used]
        assumed = [_shown(name, value) for name, value in read.defaults.items() if name in used]
        unused = [words for name, (_, words) in read.said.items() if name not in used]
        parts = [
            f"{label}: {', '.join(items)}"
            for label, items in (
                ("read", [read.server, *taken]),
                (f"{read.server}'s defaults", assumed),
                ("of no use to this command", unused),
                ("ignored", read.ignored),
            )
            if items
        ]
        return f"--serve-command: {'; '.join(parts)}"


def _shown(name: str, value: Any) -> str:
    return f"{name.replace('_', '-')} {_text(value)}"


def _text(value: Any) -> str:
    """Spells a value as the words behind a flag."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _field(name: str) -> str:
    return _FIELD_OF.get(name, name)


def _spelled(name: str) -> str:
    return FLAGS[name].names[0] if name in FLAGS else name.upper()
