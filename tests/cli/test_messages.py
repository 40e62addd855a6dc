"""What commands tell on stderr: `-v`, `-q` and `--log-file`, before and after what they run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from autotune.cli.flags.command import FlagCommand
from autotune.cli.lazy import LazyGroup
from autotune.cli.main import main
from autotune.cli.messages import MessageFlags, heard, shows_progress, tell

if TYPE_CHECKING:
    from tests.conftest import Cli


def commands(group: click.Group) -> list[click.Command]:
    inner = [each.load() for each in group.lazy.values()] if isinstance(group, LazyGroup) else group.commands.values()
    return [found for each in inner for found in (commands(each) if isinstance(each, click.Group) else [each])]


def test_every_command_takes_them() -> None:
    assert isinstance(main, click.Group)
    found = commands(main)
    assert len(found) > 15
    for command in found:
        assert isinstance(command, FlagCommand), command.name
        taken = {name for option in command.params for name in option.opts}
        assert {"-v", "--verbose", "-q", "--quiet", "--log-file"} <= taken, command.name


def test_quiet_tells_nothing_and_verbose_each_trial(cli: Cli) -> None:
    cli.ok("study create --backend replay", cli.SHRINK)
    plain = cli("study run --trials 3")
    assert "Replay: times are recordings" in plain.stderr
    assert "measured" not in plain.stderr
    told = cli("study run --more 2 -v")
    assert "4 measured, best" in told.stderr
    quiet = cli("study run --more 2 --quiet")
    assert quiet.stderr == ""
    assert "speed-up" in quiet.stdout


def test_errors_are_told_whatever_the_flags(cli: Cli) -> None:
    refused = cli("study show nothing -q", "--storage", "autotune.db")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("Error: --storage: got 'autotune.db'")


def test_a_log_file_has_all_of_it_and_how_a_command_ended(cli: Cli, tmp_path: Path) -> None:
    log = tmp_path / "messages.log"
    cli.ok("study create --backend replay", cli.SHRINK, "--log-file", log)
    assert cli("study run -q --trials 2 --log-file", log).stderr == ""
    cli("study show nothing --log-file", log)
    lines = log.read_text()
    assert "DEBUG lora-autotune" in lines
    assert "2 measured, best" in lines
    assert "INFO Replay: times are recordings" in lines
    assert "ERROR study: got 'nothing'" in lines
    assert "InputError" in lines


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that takes nothing")
def test_a_log_file_that_takes_no_more_is_told_once_and_stops_nothing(cli: Cli) -> None:
    created = cli("study create --backend replay", cli.SHRINK, "--log-file /dev/full")
    assert created.exit_code == 0
    assert created.stdout.startswith("lora_shrink")
    assert created.stderr.count("--log-file: cannot write /dev/full (No space left on device)") == 1
    assert "Traceback" not in created.stderr


@pytest.mark.parametrize(("flags", "part"), [("-v -q", "--verbose: contradicts"), ("--log-file no/x", "--log-file: ")])
def test_misuse_is_a_line(cli: Cli, flags: str, part: str) -> None:
    refused = cli("study list", flags)
    assert refused.exit_code == 2
    (line,) = refused.stderr.splitlines()
    assert part in line


def test_no_display_is_shown_where_nothing_may_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    with heard(MessageFlags(quiet=True), "a command"):
        assert not shows_progress()
        tell("what nobody asked for")
    with heard(MessageFlags(), "a command"):
        assert shows_progress()
        tell("what is so")
    assert capsys.readouterr().err == "what is so\n"
