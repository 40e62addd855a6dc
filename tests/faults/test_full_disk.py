"""A disk that is full at any point, played by a bound of a file's size: one line, nothing half written, on it goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.builders.commands import Commands

if TYPE_CHECKING:
    from tests.conftest import Cli


@pytest.mark.parametrize("room_bytes", [0, 1000])
def test_an_export_without_room_writes_nothing(finished: Cli, room_bytes: int) -> None:
    commands = Commands(finished.folder, finished.env)
    refused = commands.start("study export --dir tuned", most_file_bytes=room_bytes)
    assert refused.wait() in (1, 2)
    # What it prints is a file, too, and may be cut off.
    assert "Traceback" not in refused.printed
    assert not list(Path("tuned").rglob("*.json"))
    again = commands.start("study export --dir tuned")
    assert again.wait() == 0, again.printed
    assert [json.loads(file.read_text()) for file in Path("tuned").rglob("*.json")]


def test_a_run_without_room_stops_in_a_line_and_goes_on_later(cli: Cli) -> None:
    cli.ok("study create --backend replay", cli.SHRINK)
    commands = Commands(cli.folder, cli.env)
    room_bytes = cli.database.stat().st_size + 8192
    stopped = commands.start("study run --stop none --sampler random --trials 40", most_file_bytes=room_bytes)
    assert stopped.wait() == 1, stopped.printed
    assert "Traceback" not in stopped.printed
    assert stopped.printed.splitlines()[-1].startswith("Error: --storage: ")
    on = commands.start("study run --stop none --sampler random --trials 40")
    assert on.wait() == 0, on.printed
