"""Builds the command tree; sets the exit codes: 0 done, 1 failed, 2 wrong flags or input; by signals see `stopping`."""

from __future__ import annotations

import sys
from typing import Any

import click
from click.exceptions import Exit, NoArgsIsHelpError

from autotune import __version__
from autotune.cli import streams
from autotune.cli.lazy import LazyCommand, LazyGroup
from autotune.errors import AutotuneError
from autotune.untrusted.printing import printable


class _Failure(click.ClickException):
    """An error of ours, printed as one line."""

    def __init__(self, error: AutotuneError) -> None:
        super().__init__(printable(str(error)))
        self.error = error

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        return self.error.exit_code


class _Misuse(click.ClickException):
    """A flag or an argument that cannot be read, printed as one line."""

    exit_code = 2

    def __init__(self, error: click.UsageError) -> None:
        command = error.ctx.command_path if error.ctx else "python -m autotune"
        message = error.format_message().rstrip(".")
        # Click may end in a question: did you mean this flag?
        link = " See" if message.endswith("?") else "; see"
        super().__init__(printable(f"{message}{link} {command} --help"))


class _Commands(LazyGroup):
    """Turns errors of the tool and of its use into a line on stderr and an exit code."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise _Misuse(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AutotuneError as error:
            raise _Failure(error) from error
        except (NoArgsIsHelpError, Exit, click.Abort):
            raise
        except click.UsageError as error:
            raise _Misuse(error) from error
        except Exception as error:
            if (failure := _storage_failure(error) or _full(error)) is None:
                raise
            raise _Failure(failure) from error


def _storage_failure(error: Exception) -> AutotuneError | None:
    """Returns what an error of the storage means to a user; None for any other error."""
    if not {"sqlalchemy", "sqlite3"} & set(sys.modules):
        return None  # No storage was opened; loading what would read it takes a second.
    import sqlite3

    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    from autotune.study.storage_failure import failure_of

    if isinstance(error, StorageInternalError | SQLAlchemyError | sqlite3.Error):
        return failure_of(error)
    return None


def _full(error: Exception) -> AutotuneError | None:
    told = streams.cannot_be_written(error)
    return AutotuneError(told) if told else None


_COMMANDS = {
    "tune": LazyCommand("tune", "tune", "Create, run and export in one go."),
    "plan": LazyCommand("plan", "plan", "List a model's lookups and what tuning them takes."),
    "study": LazyCommand("study", "study", "Create, run, read and export studies: one per kernel shape."),
    "config": LazyCommand("config", "config", "Check, look up and compare the files that servers load."),
    "bench": LazyCommand("bench", "bench", "Compare searches, and a server with and without a folder."),
    "dashboard": LazyCommand("dashboard", "dashboard", "Watch the studies in a browser on this machine."),
    "doctor": LazyCommand("doctor", "doctor", "Check this machine, and say how to fix what is missing."),
}


@click.group(
    cls=_Commands,
    lazy=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="lora-autotune")
def main() -> None:
    """Tune the Triton kernels of multi-LoRA serving on your own GPU.

    Every kernel shape is an Optuna study. The fastest correct config becomes an entry of the JSON file that the server
    loads, or the default is kept when nothing beats it.

    \b
    All that a server looks up for a model, from nothing to the files:
      python -m autotune tune --model Qwen3-8B --runtime vllm \\
          --lora-rank 16 --max-loras 4 --save-json-dir tuned
    What that would tune, which needs no GPU:
      python -m autotune plan Qwen3-8B --runtime vllm \\
          --lora-rank 16 --max-loras 4
    The same in steps: study create, study run, study export.
    """
