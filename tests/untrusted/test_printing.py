"""Text of anybody's is printed as it is spelled: no terminal escape, no markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from autotune.report.tables import show, table
from autotune.untrusted.printing import printable, say

if TYPE_CHECKING:
    from tests.conftest import Cli


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("a\nb", r"a\nb"),
        ("\u202eabc", r"\u202eabc"),
        ("\udcff", r"\udcff"),
        ("[red]µs é 中", "[red]µs é 中"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled(text: str, printed: str) -> None:
    assert printable(text) == printed


def test_lines_that_are_meant_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\nb\x1b[2J")
    assert capsys.readouterr().out == "a\nb\\x1b[2J\n"


@pytest.mark.parametrize("text", ["[/x]", "[v2]", "[/red]", "[link=x]"])
def test_markup_stands_in_tables_as_it_is(capsys: pytest.CaptureFixture[str], text: str) -> None:
    show(table(text, (text,), [(text,)]))
    assert capsys.readouterr().out.split() == [text] * 3


@pytest.mark.parametrize("tag", ["[red]", "[v2]"])
def test_a_tag_is_listed_as_it_is(cli: Cli, tag: str) -> None:
    cli.ok("study create --backend replay --tag", tag, cli.SHRINK)
    assert f"-{tag} " in cli.ok("study list")


def test_a_key_of_a_checked_file_is_shown_as_it_is(cli: Cli) -> None:
    folder = cli.folder / "tuned"
    folder.mkdir()
    (folder / "NVIDIA_H200_SHRINK.json").write_text(r'{"[/red]": {}, "\u001b[2J": {}}')
    result = cli("config check tuned --runtime vllm")
    assert result.exit_code == 1
    assert "[/red]" in result.output
    assert r"\x1b[2J" in result.output
    assert "\x1b" not in result.output
