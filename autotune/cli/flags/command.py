"""Gives commands their flags: a command's parameters name them, alone or gathered in dataclasses.

    @click.command(cls=FlagCommand)
    @takes_flags
    @click.argument("name")
    def command(problem: ProblemFlags, name: str, as_json: bool = False) -> None: ...

A parameter, or a field of a dataclass, that has the name of a flag of the table is that flag; one without a default
must be given.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import MISSING
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from autotune import __version__
from autotune.cli import stopping
from autotune.cli.flags.serve_command import Filling
from autotune.cli.flags.table import FLAGS, HIDDEN_BY, SYNONYMS, Flag
from autotune.cli.messages import MessageFlags, heard, tell
from autotune.errors import one_of

Result = TypeVar("Result")
_HELP = "help"
_FILLED = f"{__name__}.filled"
"""What the server's command has filled, in a context's `meta`."""
_HIDDEN = f"{__name__}.hidden"
"""The headings that help leaves out, in a context's `meta`."""


def worded(help: str, **default: Any) -> Any:
    """Gives a field of a dataclass of flags a help text that differs from the table's.

    Args:
        default: ``default=...``, as `dataclasses.field` takes it; without it the flag must be given.
    """
    return dataclasses.field(**default, metadata={_HELP: help})


def takes_flags(command: Callable[..., Result]) -> Callable[..., Result]:
    """Puts the flags on a command that its parameters name; those that `click.argument` has put there stay as they are.

    A flag that is named twice is one flag; where it is not given, each name has its own default.
    """
    arguments = {argument.name for argument in getattr(command, "__click_params__", ())}
    hints = typing.get_type_hints(command)
    parameters = [each for each in inspect.signature(command).parameters.values() if each.name not in arguments]
    gathered: dict[str, Any] = {each.name: hints[each.name] for each in parameters if _is_gathering(hints[each.name])}
    own_flags = {each.name for each in parameters} - set(gathered)

    @functools.wraps(command)
    def called(**values: Any) -> Result:
        there = _given()
        made = {
            name: kind(**{field.name: values[field.name] for field in dataclasses.fields(kind) if field.name in there})
            for name, kind in gathered.items()
        }
        own = {name: value for name, value in values.items() if name in arguments or name in own_flags & there}
        return command(**made, **own)

    options: dict[str, click.Option] = {}
    for parameter in parameters:
        if parameter.name in gathered:
            for name, option in _options_of(gathered[parameter.name]):
                options.setdefault(name, option)
        else:
            default = MISSING if parameter.default is inspect.Parameter.empty else parameter.default
            options.setdefault(parameter.name, _option(parameter.name, default))
    for name, option in options.items():
        if (other := SYNONYMS.get(name)) is not None and other not in options:
            option.opts += [spelling for spelling in FLAGS[other].names if spelling not in option.opts]
    order = list(FLAGS)
    called.__dict__.setdefault("__click_params__", []).extend(
        options[name] for name in sorted(options, key=order.index, reverse=True)
    )
    return called


def _given() -> set[str]:
    """Returns the names of the parameters that the running command was given, if only by an environment variable or by
    the command that starts the server."""
    context = click.get_current_context()
    return {name for name in context.params if context.get_parameter_source(name) != ParameterSource.DEFAULT}


def said(flags: Any) -> list[str]:
    """Returns the names of the flags, of a dataclass of them, that differ from their defaults."""
    return [field.name for field in dataclasses.fields(flags) if getattr(flags, field.name) != field.default]


def names_of(*kinds: type[Any]) -> set[str]:
    """Returns the names of all flags of these dataclasses."""
    return {field.name for kind in kinds for field in dataclasses.fields(kind)}


def spelled(name: str) -> str:
    """Returns the flag as users spell it."""
    return FLAGS[name].names[0]


class HeadedOption(click.Option):
    """An option that help shows under a heading."""

    def __init__(self, *args: Any, heading: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


class FlagCommand(click.Command):
    """A command whose help shows its flags under their headings.

    A flag that lists integers may have them as words of their own, ``--chunk-sizes 16 32 64``, as SGLang's script has.
    Each command takes the flags of `autotune.cli.messages`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [option for _, option in _options_of(MessageFlags)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        lists = {name for each in self.params for name in each.opts if getattr(each, "name", "") == "chunk_sizes"}
        args = _join_listed(args, lists)
        ctx.meta[_HIDDEN] = self._hidden(args)
        filling = Filling.of(self, ctx, args)
        ctx.default_map = {**(ctx.default_map or {}), **filling.values}
        try:
            rest = super().parse_args(ctx, list(args))
        except click.MissingParameter as error:
            raise self._all_missing(ctx, args, error) from error
        filling.check(ctx)
        ctx.meta[_FILLED] = filling.text(ctx)
        return rest

    def _hidden(self, args: list[str]) -> set[str]:
        """Returns the headings of other ways to tune than the one that the flags before ``--help`` begin."""
        words = {word.partition("=")[0] for word in args}
        begun = [each.name or "" for each in self.params if words & set(each.opts)]
        return {heading for name in begun for heading in HIDDEN_BY.get(name, ())}

    def _all_missing(self, ctx: click.Context, args: list[str], first: click.MissingParameter) -> click.UsageError:
        """Returns an error that names all that must be given and is not, where click names the first of it."""
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        # What stands for an argument that is not there is click's own.
        known = {name for name, value in given.items() if isinstance(value, str | tuple)} | set(ctx.default_map or {})
        wanted = [each for each in self.params if each.required and each.name not in known]
        names = [each.opts[0] if isinstance(each, click.Option) else each.make_metavar(ctx) for each in wanted]
        choices = wanted[0].type if len(wanted) == 1 else None
        allowed = f"; allowed: {one_of(choices.choices)}" if isinstance(choices, click.Choice) else ""
        return click.UsageError(f"{one_of(names)}: not given{allowed}", ctx) if names else first

    def invoke(self, ctx: click.Context) -> Any:
        stopping.loaded()
        flags = MessageFlags(**{name: ctx.params.pop(name) for name in names_of(MessageFlags)})
        with heard(flags, f"lora-autotune {__version__}: {ctx.command_path}"):
            if ctx.meta[_FILLED]:
                tell(ctx.meta[_FILLED])
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        by_heading: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None:
                by_heading.setdefault(getattr(parameter, "heading", "Help"), []).append(record)
        for heading, records in by_heading.items():
            if heading not in ctx.meta.get(_HIDDEN, ()):
                with formatter.section(heading):
                    formatter.write_dl(records)


def _join_listed(args: list[str], lists: set[str]) -> list[str]:
    joined: list[str] = []
    listing = False
    for before, word in zip(["", *args], args, strict=False):
        first = before in lists
        listed = listing and not first and word.isdecimal()
        if listed:
            joined[-1] += f",{word}"
        else:
            joined.append(word)
        listing = first or listed or (word.partition("=")[0] in lists and "=" in word)
    return joined


def _is_gathering(hint: Any) -> bool:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def _options_of(kind: Any) -> Iterator[tuple[str, click.Option]]:
    for field in dataclasses.fields(kind):
        yield field.name, _option(field.name, field.default, field.metadata.get(_HELP))


def _option(name: str, default: Any, help: str | None = None) -> click.Option:
    flag: Flag = FLAGS[name]
    text = help or flag.help
    return HeadedOption(
        [*flag.names, name],
        type=None if flag.type is bool else flag.type,
        is_flag=flag.type is bool,
        multiple=flag.multiple,
        metavar=flag.metavar,
        envvar=flag.envvar,
        show_envvar=flag.envvar is not None,
        **({"required": True} if default is MISSING else {"default": default}),
        show_default=_is_worth_showing(default) and "[default:" not in text,
        help=text,
        heading=flag.heading,
        shell_complete=flag.complete,
    )


def _is_worth_showing(default: Any) -> bool:
    return default is not MISSING and default is not None and default is not False and default not in ((), "")
