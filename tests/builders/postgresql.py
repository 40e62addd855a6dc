"""A PostgreSQL cluster of a test's own, on this machine alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path


def programs() -> Path | None:
    """Finds the folder of PostgreSQL's own programs; None where it is not installed."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((place for place in reversed(places) if (place / "initdb").exists()), None)


@contextlib.contextmanager
def cluster(folder: Path, bin_dir: Path) -> Iterator[str]:
    """Runs a cluster during a block; gives the URL of an empty database, on 127.0.0.1."""
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        port = asking.getsockname()[1]
    data = folder / "data"
    # It refuses to run as root.
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres")

    def call(program: str, *flags: str | Path) -> None:
        command = [*user, bin_dir / program, *flags]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    call("initdb", "--pgdata", data, "--username", "tester", "--auth", "trust", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    call("pg_ctl", "start", "--wait", "--pgdata", data, "--log", folder / "log", "--options", options)
    try:
        yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "stop", "--pgdata", data, "--mode", "immediate")
