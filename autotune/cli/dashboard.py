"""``dashboard``: optuna-dashboard on the storage."""

from __future__ import annotations

import click
import optuna_dashboard

from autotune.cli.options import storage_option
from autotune.storage import open_storage

# The dashboard has no login and lets anybody who can connect delete studies: this machine only.
HOST = "127.0.0.1"


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@storage_option
def dashboard(port: int, storage: str) -> None:
    """Watch the studies in a browser, on this machine only (optuna-dashboard on 127.0.0.1).

    From elsewhere: ssh -L 8080:127.0.0.1:8080 HOST
    """
    opened = open_storage(storage)
    click.echo(f"http://{HOST}:{port}/ (Ctrl-C stops it)")
    optuna_dashboard.run_server(opened, host=HOST, port=port)
