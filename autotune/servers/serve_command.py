"""Reads the shell command that starts a server, for what LoRA lookups depend on; it ignores what it does not know."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune.contract.problem import dtype_name
from autotune.errors import InputError, one_of
from autotune.model import fields
from autotune.servers.serve_config import words as config_words
from autotune.servers.serve_objects import with_objects
from autotune.servers.serve_words import Program, Spelling, find
from autotune.untrusted import reading
from autotune.untrusted.printing import shortened

_FLAG = "--serve-command"
_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}
_NO_VALUE = ""
_OF_ALL = "server"
"""The field that flags fill which a plan only has to know of."""
_OF_NO_LAYER = re.compile(r"rope_|max_position_embeddings$|(torch_)?dtype$|\w+_token_id$|\w*dropout$|sliding_window$")
"""Fields of a config that no size of a layer follows from."""


@dataclass(frozen=True)
class ServeFlag:
    """One flag of a server that says something to the tool.

    Attributes:
        names: As the server spells it.
        field: The tool's flag that it fills, by its name in Python.
        read: Makes the value of the words behind the flag; None for a switch, which takes none. A value of None says
            nothing.
        several: It takes all words up to the next flag, not one.
        whole: A comma does not part them: to the server it is of the word.
    """

    names: tuple[str, ...]
    field: str
    read: Callable[[str], Any] | None = None
    several: bool = False
    whole: bool = False


@dataclass(frozen=True)
class ServeSyntax:
    """How commands that start a server are spelled.

    Attributes:
        spelling: The words that one of them begins with.
        flags: Of two that fill one field, the first that is given counts; several of one name each read its words.
        objects: Flags that take JSON whose keys may stand as flags of their own (``--flag.key value``).
        switches: Flags that take no value and say nothing, so that the word behind one is the model.
        variables: Environment variables that fill a field when they are set to 1.
        defaults: What the server takes where the command says nothing, by field.
        refused: Flags with which the server does not start with LoRA, or reads no file, and why.
        config_file: The flag that names a YAML file of flags; those of the command itself count more.
        contradiction: Tells why the server does not start with flags that are sound one by one; None where it does. It
            is given the words behind each flag, by the flag's first name.
    """

    spelling: Spelling
    flags: tuple[ServeFlag, ...]
    objects: frozenset[str] = frozenset()
    switches: frozenset[str] = frozenset()
    variables: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    config_file: str = "--config"
    contradiction: Callable[[Mapping[str, str]], str | None] = lambda words: None


@dataclass(frozen=True)
class ServeCommand:
    """What a command says.

    Attributes:
        said: By the field that it fills, the value and the words that say so.
        defaults: What the server takes besides, by field.
        ignored: Flags that were not read.
    """

    server: str
    said: Mapping[str, tuple[Any, str]]
    defaults: Mapping[str, Any]
    ignored: tuple[str, ...]


def read(text: str, syntaxes: Mapping[str, ServeSyntax]) -> ServeCommand:
    """Reads a command of one of several servers.

    Raises:
        InputError: If it starts none of them, or a flag that is read has a value that the server would not take.
    """
    try:
        program = find(text, {name: syntax.spelling for name, syntax in syntaxes.items()})
    except ValueError as error:
        raise InputError(f"{_FLAG}: cannot be read ({error}); quote it as a shell would need it") from error
    if program is None:
        wanted = one_of(f"{' '.join(syntax.spelling.programs[0])} ..." for syntax in syntaxes.values())
        raise InputError(f"{_FLAG}: got {text[:60]!r}, which starts no server; allowed: {wanted}")
    syntax = syntaxes[program.server]
    return _read(program, syntax, _elsewhere(syntax, syntaxes.values()))


def count(text: str) -> int:
    """Reads a positive integer.

    Raises:
        ValueError: If it is none.
    """
    if not re.fullmatch(r"0*[1-9][0-9]{0,9}", text):
        raise ValueError("a positive integer")
    return int(text)


def count_with_unit(text: str) -> int:
    """Reads a positive integer, or one in thousands (``8k``) or in 1024s (``8K``)."""
    match = re.fullmatch(r"([0-9]{1,10}(?:\.[0-9]{1,10})?)([kmgKMG])", text)
    return count(text if match is None else str(int(float(match[1]) * _UNITS[match[2]])))


def sizes_of_config(text: str) -> tuple[str, ...] | None:
    """Reads a JSON object that goes over a model's config, as the tool's flag for its fields takes them.

    Raises:
        ValueError: If it changes what that flag does not; what layers do not depend on is ignored.
    """
    example = 'sizes of the model, such as {"num_hidden_layers": 4}; write other fields into a copy of its config.json'
    try:
        changed = reading.json_of(text)
    except ValueError as error:
        raise ValueError(f"a JSON object of {example}") from error
    if not isinstance(changed, dict):
        raise ValueError(f"a JSON object of {example}")
    others = {spelled: name for name, spellings in fields.NAMES.items() for spelled in spellings}
    names = {**others, **{name: name for name in fields.NAMES}}
    taken = []
    for field_name, value in changed.items():
        if field_name in names and type(value) is int and value >= 0:
            taken.append(f"{names[field_name]}={value}")
        elif not _OF_NO_LAYER.match(field_name):
            raise ValueError(example)
    return tuple(taken) or None


def dtype(text: str) -> str | None:
    """Reads a dtype; ``auto`` says nothing."""
    return None if text == "auto" else dtype_name(text)


def _elsewhere(syntax: ServeSyntax, syntaxes: Iterable[ServeSyntax]) -> dict[str, str]:
    """Returns what this server calls the flags of others that say what one of its own does."""
    own = {flag.field: flag.names[0] for flag in reversed(syntax.flags)}
    return {
        _hyphened(name): own[flag.field]
        for other in syntaxes
        for flag in other.flags
        for name in flag.names
        if flag.field in own and flag.field != _OF_ALL
    }


def _read(program: Program, syntax: ServeSyntax, elsewhere: Mapping[str, str]) -> ServeCommand:
    given = _with_config_file(program.arguments, syntax)
    words = _Words(syntax, with_objects(given, syntax.objects, count_with_unit), elsewhere)
    words.take_all()
    if (why := syntax.contradiction(words.texts)) is not None:
        raise InputError(f"{_FLAG}: {why}; correct the command")
    said: dict[str, tuple[Any, str]] = {} if words.model is None else {"model": (words.model, words.model)}
    for variable, switched in program.environment.items():
        if variable in syntax.variables and switched == "1":
            said[syntax.variables[variable]] = (True, f"{variable}=1")
    found = words.found
    for flag in (flag for flag in syntax.flags if flag in found and found[flag][0] is not None):
        said.setdefault(flag.field, found[flag])
    defaults = {name: value for name, value in syntax.defaults.items() if name not in said}
    return ServeCommand(program.server, said, defaults, tuple(dict.fromkeys(words.ignored)))


class _Words:
    """The words of a command, taken one by one.

    Attributes:
        model: The word that belongs to no flag.
        found: What flags say, and how it was spelled.
        texts: Their values as they were given, by the first of a flag's names.
        ignored: Flags that are not read here.
    """

    def __init__(self, syntax: ServeSyntax, words: list[str], elsewhere: Mapping[str, str]) -> None:
        self.model: str | None = None
        self.found = dict[ServeFlag, tuple[Any, str]]()
        self.texts = dict[str, str]()
        self.ignored = list[str]()
        self._syntax, self._left, self._elsewhere = syntax, words, elsewhere
        self._by_name: dict[str, list[ServeFlag]] = {}
        for flag in syntax.flags:
            for spelling in flag.names:
                self._by_name.setdefault(_hyphened(spelling), []).append(flag)

    def take_all(self) -> None:
        """Takes the words, from the first to the last.

        Raises:
            InputError: If a word belongs to nothing, or a flag is refused or has no such value.
        """
        while self._left:
            word = self._left.pop(0)
            if _is_flag(word):
                self._take_flag(word)
            elif self.model is None:
                self.model = word
            else:
                raise InputError(f"{_FLAG}: got {word!r}, which belongs to no flag; take it out or quote what it is of")

    def _take_flag(self, word: str) -> None:
        name, equals, value = word.partition("=")
        name = _unabbreviated(_hyphened(name), {*self._by_name, *self._syntax.refused, *self._syntax.switches})
        if name in self._syntax.refused:
            raise InputError(f"{_FLAG}: {name}: {self._syntax.refused[name]}; leave it out")
        positive = _switched_on(name)
        if flags := self._by_name.get(name):
            text = _text(flags[0], name, value if equals else None, self._left)
            self.found |= {flag: (_value(flag, name, text), f"{name} {text}".rstrip()) for flag in flags}
            self.texts |= {flag.names[0]: text for flag in flags}
        elif (switches := self._by_name.get(positive)) and switches[0].read is None:
            self.found[switches[0]] = (False, name)
        elif name in self._elsewhere:
            raise InputError(
                f"{_FLAG}: got {name}, which this server does not have; give {self._elsewhere[name]} in its place"
            )
        else:
            self.ignored.append(name)
            while not (equals or _ends(name, self._syntax)) and self._left and not _is_flag(self._left[0]):
                self._left.pop(0)


def _with_config_file(words: Sequence[str], syntax: ServeSyntax) -> list[str]:
    """Returns the words with those of the file of flags, before the command's own flags, which count more."""
    for at, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag != syntax.config_file:
            continue
        file = value if equals else next(iter(words[at + 1 : at + 2]), "")
        try:
            read = config_words(Path(file))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{_FLAG}: {flag}: {file or 'no file'}: {reason}; give the file that the server is started with"
            ) from error
        own = [*words[:at], *words[at + (1 if equals else 2) :]]
        model = 1 if own and not _is_flag(own[0]) else 0
        return [*own[:model], *read, *own[model:]]
    return list(words)


def _ends(name: str, syntax: ServeSyntax) -> bool:
    """Tells whether a flag takes no word: a switch, or a letter with its value, such as -O3."""
    return name in syntax.switches or re.fullmatch(r"-[A-Z][0-9]+", name) is not None


def _text(flag: ServeFlag, name: str, attached: str | None, left: list[str]) -> str:
    """Takes a flag's words off those that are left; returns them, with commas between."""
    if flag.read is None:
        if attached is not None:
            raise InputError(f"{_FLAG}: {name}: got the value {attached!r}, allowed: none; leave the value out")
        return _NO_VALUE
    taken = [] if attached is None else [attached]
    while attached is None and left and not _is_flag(left[0]) and (flag.several or not taken):
        taken.append(left.pop(0))
    if flag.whole and (words := [word for word in taken if "," in word]):
        raise InputError(
            f"{_FLAG}: {name}: got {shortened(words[0])}, which is one name to the server; put blanks between names"
        )
    text = ",".join(taken)
    if text == _NO_VALUE:
        raise InputError(f"{_FLAG}: {name}: got no value; give the one that the server is started with")
    return text


def _value(flag: ServeFlag, name: str, text: str) -> Any:
    if flag.read is None:
        return True
    try:
        return flag.read(text)
    except ValueError as error:
        raise InputError(f"{_FLAG}: {name}: got {shortened(text)}, allowed: {error}; correct the command") from error


def _switched_on(name: str) -> str:
    """Returns the flag that a flag switches off, as servers spell the two; a name of no such flag as it is."""
    return re.sub(r"^--disable-", "--enable-", name).replace("--no-", "--", 1)


def _hyphened(name: str) -> str:
    """Spells a flag's name in the one of its two ways that it is compared by."""
    return name.replace("_", "-") if name.startswith("--") else name


def _unabbreviated(name: str, known: Collection[str]) -> str:
    """Returns the flag that a name begins and no other one, as `argparse` takes it; a name of no such flag as it is."""
    if name in known or not re.fullmatch(r"--\w[\w-]*", name):
        return name
    begun = [each for each in known if each.startswith(name)]
    return begun[0] if len(begun) == 1 else name


def _is_flag(word: str) -> bool:
    return word.startswith("-") and len(word) > 1
