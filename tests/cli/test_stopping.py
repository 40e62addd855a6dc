"""Ctrl-C and SIGTERM, once or ten times, end a command without a traceback, with its terminal as it was."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Cli

ROOT = Path(__file__).parents[2]
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"

# The entry point with a command, which is loaded then, that does what the environment variable BODY says.
SCRIPT = """
    import os, sys, time, types
    from signal import SIGINT, SIGTERM

    import click

    from autotune.__main__ import main
    from autotune.cli import stopping

    def send(number, times=1):
        for _ in range(times):
            os.kill(os.getpid(), number)

    class Dropping:
        def __del__(self):
            send(SIGINT)

    @click.command()
    def command():
        stopping.loaded()
        exec(os.environ["BODY"], globals())

    sys.modules["autotune.cli.main"] = types.SimpleNamespace(main=command)
    main()
"""


def run(body: str, script: str = SCRIPT) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "BODY": textwrap.dedent(body)}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


STOPPED = {
    "Ctrl-C": ("send(SIGINT)", 130),
    "SIGTERM": ("send(SIGTERM)", 143),
    "ten times": ("send(SIGINT, 10)", 130),
    "while an object is finalised": ("Dropping()", 130),
    "noted until the next step": (
        """
        with stopping.between_steps() as check:
            send(SIGTERM)
            print("went on")
            check()
        """,
        143,
    ),
    "twice within a step": ("with stopping.between_steps(): send(SIGINT, 2)", 130),
    "ten times within a step": ("with stopping.between_steps(): send(SIGINT, 10)", 130),
}


@pytest.mark.parametrize(("body", "code"), STOPPED.values(), ids=STOPPED)
def test_a_signal_ends_a_command_with_its_own_exit_code(body: str, code: int) -> None:
    done = run(f"{textwrap.dedent(body)}\nprint('never')")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "never" not in done.stdout
    assert ("went on" in done.stdout) == ("went on" in body)


def test_ten_signals_do_not_disturb_the_end_of_a_command() -> None:
    done = run(
        """
        try:
            send(SIGINT, 10)
        finally:
            print("cleaned")
        """
    )
    assert (done.returncode, done.stdout) == (130, "cleaned\n")


@pytest.mark.parametrize("body", ["pass", "with stopping.between_steps(): send(SIGINT)"])
def test_a_command_that_is_done_has_done_it(body: str) -> None:
    assert run(body).returncode == 0


def test_a_command_that_does_not_end_is_left(tmp_path: Path) -> None:
    done = run(
        """
        stopping._GRACE_S = 0.0
        try:
            send(SIGINT)
        finally:
            send(SIGINT)
            print("never")
        """
    )
    assert (done.returncode, done.stdout) == (130, "")


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_while_the_tool_is_loaded_ends_it_without_a_word(number: str, code: int) -> None:
    script = f"""
        import os, signal, sys
        from autotune.__main__ import main

        class Loading:
            def find_spec(self, name, path=None, target=None):
                if name == "autotune.cli.main":
                    os.kill(os.getpid(), signal.{number})

        sys.meta_path.insert(0, Loading())
        main()
    """
    done = run("", script)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_ctrl_c_before_anything_listens_ends_it_without_a_word() -> None:
    script = """
        import os, signal, sys

        class Loading:
            def find_spec(self, name, path=None, target=None):
                if name == "autotune.cli.stopping":
                    os.kill(os.getpid(), signal.SIGINT)

        sys.meta_path.insert(0, Loading())
        from autotune.__main__ import main
        main()
    """
    done = run("", script)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


LATE = {
    "as the command returns": ("collecting.never_again = lambda: send(SIGINT)", 130),
    "after its output": ("streams.drop_unwritten = lambda: send(SIGINT)", 130),
    "while threads are waited for": ("threading.Thread(target=wait_and_send).start()", 130),
    "among the last functions": ("atexit.register(send, SIGINT)", 130),
    "ten times, among the last functions": ("atexit.register(send, SIGINT, 10)", 130),
    "while Python takes itself down": ("sys.last = Last()", 0),
}


@pytest.mark.parametrize(("body", "code"), LATE.values(), ids=LATE)
def test_ctrl_c_after_a_command_leaves_no_traceback(body: str, code: int) -> None:
    script = """
        import atexit, threading
        from autotune.cli import collecting, streams

        def wait_and_send():
            while threading.main_thread().is_alive():
                time.sleep(0.01)
            send(SIGINT)

        class Last:
            def __del__(self, kill=os.kill, process=os.getpid(), number=SIGINT, write=os.write):
                kill(process, number)
                write(2, b"sent")
    """
    done = run(f"{textwrap.dedent(script)}\n{body}")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert ("sent" in done.stderr) == ("Last" in body)


@pytest.mark.parametrize("times", [1, 10])
def test_a_run_on_a_terminal_leaves_it_as_it_was(cli: Cli, times: int) -> None:
    cli.ok("study create --backend replay", cli.SHRINK)
    command = [sys.executable, "-m", "autotune", "study", "run", "--stop", "none", "--sampler", "random"]
    environment = os.environ | cli.env | {"PYTHONPATH": str(ROOT), "TERM": "xterm"}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*command, "--trials", "500"], env=environment, cwd=cli.folder, stderr=theirs, stdout=subprocess.DEVNULL
    ) as process:
        os.close(theirs)
        shown = b""
        while HIDE not in shown:
            shown += os.read(ours, 4096)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
        shown += _rest(ours)
    os.close(ours)
    assert process.returncode == 130, shown
    assert b"Traceback" not in shown
    assert shown.rindex(SHOW) > shown.rindex(HIDE)


def _rest(terminal: int) -> bytes:
    """Reads until the last process that writes to the terminal has ended."""
    found = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # how Linux says that it is closed at the other end
            return found
        if not part:
            return found
        found += part
