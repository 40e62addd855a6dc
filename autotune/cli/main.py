"""The command tree and the exit codes: 0 done, 1 could not, 2 cannot be asked; by signals see `stopping`."""

from __future__ import annotations

from typing import Any

import click
import optuna
from click.exceptions import NoArgsIsHelpError
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from autotune import __version__
from autotune.cli.bench import bench
from autotune.cli.bench_serve import bench_serve
from autotune.cli.bench_sweep import sweep
from autotune.cli.config import config
from autotune.cli.dashboard import dashboard
from autotune.cli.doctor import doctor
from autotune.cli.plan import plan
from autotune.cli.study import study
from autotune.cli.tune import tune
from autotune.errors import AutotuneError
from autotune.study.storage_failure import failure_of
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
        super().__init__(printable(f"{error.format_message().rstrip('.')}; see {command} --help"))


class _Commands(click.Group):
    """Turns errors of the tool and of its use into a line on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AutotuneError as error:
            raise _Failure(error) from error
        except (StorageInternalError, SQLAlchemyError) as error:
            raise _Failure(failure_of(error)) from error
        except NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise _Misuse(error) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lora-autotune")
def main() -> None:
    """Tune the Triton kernels of multi-LoRA serving on your own GPU.

    Every kernel shape is an Optuna study. The fastest correct config becomes an entry of the JSON file that the server
    loads, or the default is kept when nothing beats it.

    \b
    One shape, from nothing to a file:
      python -m autotune tune --op-type lora_shrink --batch-size 16 \\
          --hidden-size 5120 --lora-rank 16 --num-loras 4 --save-json-dir tuned
    The same in steps: study create, study run, study export.
    """


# Optuna's own progress lines; ours are on stderr too.
optuna.logging.set_verbosity(optuna.logging.WARNING)

for command in (plan, study, tune, config, bench, dashboard, doctor):
    main.add_command(command)
bench.add_command(sweep)
bench.add_command(bench_serve)
