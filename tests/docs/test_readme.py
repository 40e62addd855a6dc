"""Every command that the README or a page of the site shows is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from autotune.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def commands() -> list[str]:
    """Returns what code blocks call the tool with, continued lines joined, each command once."""
    text = "\n".join(page.read_text() for page in PAGES)
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```|^    (python -m autotune [^\n]*\n)", text, re.MULTILINE | re.DOTALL)
    lines = "".join(map("".join, blocks)).replace("\\\n", " ").splitlines()
    return list(
        dict.fromkeys(line.partition("python -m autotune ")[2] for line in lines if "python -m autotune " in line)
    )


@pytest.mark.parametrize("command", commands())
def test_a_command_is_understood(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("tuned", "other"):
        (tmp_path / folder).mkdir()
    parsed: click.Command = main
    words = shlex.split(command, comments=True)
    while isinstance(parsed, click.Group):
        parsed = parsed.get_command(click.Context(parsed), words.pop(0)) or click.Command("there is none")
    assert parsed.make_context(parsed.name, words)
