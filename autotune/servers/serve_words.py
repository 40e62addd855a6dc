"""Finds the words that start a server in a line of shell: behind others, in quotes, in a container."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

_QUOTED = r"'[^']*'|\"(?:\\.|[^\"\\])*\""
_OPERATORS = frozenset(";&|<>()")
_HIDDEN = {ord(operator): 0xDC00 + ord(operator) for operator in _OPERATORS}
"""Operators between quotes, which separate nothing, as halves of characters: these are in no text."""
_SHOWN = {hidden: operator for operator, hidden in _HIDDEN.items()}
_NEXT_COMMAND = ";"
_NOTHING_TOLD = (
    (re.compile(rf"({_QUOTED})|\\[ \t]*\r?\n"), " "),  # a line that goes on, also with blanks that were pasted behind
    (re.compile(rf"({_QUOTED})|(?<!\S)#[^\n]*"), ""),  # a comment
    (re.compile(rf"({_QUOTED})|(?<=\s)[0-9](?=[<>])"), ""),  # what is redirected
    (re.compile(rf"({_QUOTED})|\r?\n(?=\s*-|[ \t])"), " "),  # a line of flags, as a YAML block has it
    (re.compile(rf"({_QUOTED})|\r?\n"), f" {_NEXT_COMMAND} "),
)
_DEEPEST = 3
_CONTAINER_ENV = re.compile(r"(?:--env=|-e=?)(?=[A-Za-z_])")
_ENTRY_POINT = "--entrypoint"
_LIST = re.compile(r"\s*(?:CMD\s|ENTRYPOINT\s)?\s*(\[.*\])\s*", re.DOTALL)
_FOUND_BY_NAME = re.compile(r"\$\((?:which|command -v) +([\w./-]+) *\)|`(?:which|command -v) +([\w./-]+) *`")


@dataclass(frozen=True)
class Program:
    """Words that start a server.

    Attributes:
        server: Its name.
        arguments: The words behind them.
        environment: Variables that are set for it.
    """

    server: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Spelling:
    """How a server is called.

    Attributes:
        programs: The words that a command of it begins with.
        images: Containers whose entry point it is: the words behind one are the server's arguments.
    """

    programs: tuple[tuple[str, ...], ...]
    images: tuple[str, ...] = ()


def find(text: str, spellings: Mapping[str, Spelling]) -> Program | None:
    """Returns the first program of a line of shell that starts one of several servers; None where none does.

    Raises:
        ValueError: If the line has a quote without its end.
    """
    return _find(_FOUND_BY_NAME.sub(r"\1\2", _of_list(text)), spellings, {}, 0)


def _of_list(text: str) -> str:
    """Returns the words of a list such as a Dockerfile's CMD has as a line of shell; another text as it is."""
    match = _LIST.fullmatch(text)
    try:
        words = json.loads(match[1]) if match else None
    except ValueError:
        words = None
    return shlex.join(words) if isinstance(words, list) and all(isinstance(word, str) for word in words) else text


def _find(text: str, spellings: Mapping[str, Spelling], around: Mapping[str, str], depth: int) -> Program | None:
    environment = dict(around)
    for words in _commands(text):
        for server, spelling in spellings.items():
            if (arguments := _arguments(words, spelling)) is not None:
                before = words[: len(words) - len(arguments)]
                return Program(server, tuple(arguments), environment | _variables(before))
        environment |= _variables(words)
        nested = (word for word in words if depth < _DEEPEST and any(blank in word for blank in " \t\n"))
        for word in nested:  # bash -c '...'
            if (program := _find(word, spellings, environment, depth + 1)) is not None:
                return program
    return None


def _commands(text: str) -> Iterator[list[str]]:
    """Yields the words of each simple command, without what is redirected."""
    for pattern, instead in _NOTHING_TOLD:
        text = pattern.sub(partial(_quoted_or, instead), text)
    text = re.sub(_QUOTED, lambda quoted: quoted[0].translate(_HIDDEN), text)
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    command: list[str] = []
    redirects = False
    for word in lexer:
        operator = bool(word) and set(word) <= _OPERATORS
        if redirects and not operator:
            redirects = False
        elif operator and set(word) & {"<", ">"} and not set(word) & {"(", ")"}:
            redirects = True
        elif operator:
            yield command
            command, redirects = [], False
        else:
            command.append(word.translate(_SHOWN))
    yield command


def _quoted_or(instead: str, match: re.Match[str]) -> str:
    return match[1] or instead


def _arguments(words: Sequence[str], spelling: Spelling) -> Sequence[str] | None:
    for program in spelling.programs:
        for start in range(len(words) - len(program) + 1):
            first, *rest = words[start : start + len(program)]
            # A path before the first word is part of it.
            if [first.rpartition("/")[2], *rest] == list(program):
                return words[start + len(program) :]
    return _arguments_of_image(words, spelling)


def _arguments_of_image(words: Sequence[str], spelling: Spelling) -> Sequence[str] | None:
    image = next((i for i, word in enumerate(words) if _is_image(word, spelling.images)), None)
    if image is None:
        return None
    arguments = list(words[image + 1 :])
    for i, word in enumerate(words[:image]):
        name, equals, value = word.partition("=")
        if name == _ENTRY_POINT:
            entry = value if equals else words[i + 1]
            return _arguments([entry, *arguments], Spelling(spelling.programs))
    return arguments


def _is_image(word: str, images: Sequence[str]) -> bool:
    """Tells whether a word names one of the images, of any registry and tag."""
    name = re.sub(r"(?::[\w.-]+)?(?:@.*)?$", "", word)
    return any(name == image or name.endswith(f"/{image}") for image in images)


def _variables(words: Sequence[str]) -> dict[str, str]:
    pairs = (_CONTAINER_ENV.sub("", word, count=1).partition("=") for word in words)
    return {name: value for name, equals, value in pairs if equals and name.isidentifier()}
