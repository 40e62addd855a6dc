"""``dashboard`` runs optuna-dashboard on the storage."""

from __future__ import annotations

import click

from autotune.cli.dashboard_server import HOST, serve
from autotune.cli.flags.command import FlagCommand, takes_flags
from autotune.cli.storage import open_storage
from autotune.errors import InputError
from autotune.paths import DEFAULT_STORAGE_URL
from autotune.untrusted.printing import say


@click.command(cls=FlagCommand)
@takes_flags
def dashboard(port: int = 8080, read_only: bool = False, storage: str = DEFAULT_STORAGE_URL) -> None:
    """Watch the studies in a browser on this machine.

    Starts optuna-dashboard on 127.0.0.1 only: it has no login. Requests that name another host are refused.
    From elsewhere: ssh -L 8080:127.0.0.1:8080 HOST
    """
    try:
        import optuna_dashboard  # takes a second to load
    except ModuleNotFoundError as error:
        raise InputError("dashboard: optuna-dashboard is not installed; pip install optuna-dashboard") from error
    opened = open_storage(storage)
    try:
        serve(
            optuna_dashboard.wsgi(opened),
            port,
            read_only,
            on_listening=lambda port: say(f"http://{HOST}:{port}/ (Ctrl-C stops it)"),
        )
    except OSError as error:
        raise InputError(f"--port: cannot listen on {port} ({error.strerror}); give another one") from error
