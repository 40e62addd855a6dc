"""Makes text of anybody's fit to print, in one place: no terminal escape, no markup, no half character."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

_KEPT = "\n\t"


def printable(text: str, keep: str = "") -> str:
    """Spells what a terminal would obey, hide or reorder as Python does (``\\x1b``).

    Args:
        keep: Control characters to leave as they are.
    """
    if text.isprintable():
        return text
    return "".join(each if each in keep or _is_shown(each) else _spelled(each) for each in text)


def shortened(value: object, characters: int = 60) -> str:
    """Spells a value for a message, cut off where it is long."""
    text = repr(value)
    return text if len(text) <= characters else f"{text[:characters]}..."


def say(text: object = "", err: bool = False) -> None:
    """Prints text, of one or more lines."""
    import click  # here and below, because a process of a server prints nothing and may lack both

    click.echo(printable(str(text), _KEPT), err=err)


def cell(value: object) -> Text:
    """Returns a text for a table of rich's, which reads no markup in it."""
    from rich.text import Text

    return Text(printable(str(value), _KEPT))


def _is_shown(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _spelled(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
