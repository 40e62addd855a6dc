"""``dashboard``: optuna-dashboard on the storage."""

from __future__ import annotations

import click

from autotune.cli.flags.command import FlagCommand, takes_flags
from autotune.cli.storage import open_storage
from autotune.errors import InputError
from autotune.paths import DEFAULT_STORAGE_URL
from autotune.untrusted.printing import say

# The dashboard has no login and lets anybody who can connect delete studies: this machine only.
HOST = "127.0.0.1"


@click.command(cls=FlagCommand)
@takes_flags
def dashboard(port: int = 8080, storage: str = DEFAULT_STORAGE_URL) -> None:
    """Watch the studies in a browser on this machine.

    Starts optuna-dashboard on 127.0.0.1 only: it has no login.
    From elsewhere: ssh -L 8080:127.0.0.1:8080 HOST
    """
    try:
        import optuna_dashboard  # takes a second to load
    except ModuleNotFoundError as error:
        raise InputError("dashboard: optuna-dashboard is not installed; pip install optuna-dashboard") from error
    opened = open_storage(storage)
    say(f"http://{HOST}:{port}/ (Ctrl-C stops it)")
    try:
        optuna_dashboard.run_server(opened, host=HOST, port=port)
    except OSError as error:
        raise InputError(f"--port: cannot listen on {port} ({error.strerror}); give another one") from error
