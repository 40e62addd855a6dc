"""Many processes on one storage, by several spellings of its place: all succeed, and nothing is measured twice."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.builders import postgresql
from tests.builders.commands import Commands

if TYPE_CHECKING:
    from tests.conftest import Cli

CROWD = 8
TAGS = ("a", "b", "c")
RUN = "study run --stop none --sampler random --trials 20"

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Runs a PostgreSQL server of the test's own; gives the URL of its database."""
    pytest.importorskip("psycopg", reason="PostgreSQL's driver is not installed (extra postgresql)")
    if (bin_dir := postgresql.programs()) is None:
        pytest.skip("PostgreSQL is not installed (initdb)")
    # Not in a folder of pytest's, which another run of tests may clear away under a running server.
    with tempfile.TemporaryDirectory() as folder, postgresql.cluster(Path(folder), bin_dir) as url:
        yield url


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def urls(request: pytest.FixtureRequest, cli: Cli) -> list[str]:
    """Gives two spellings of one storage."""
    if request.param == "SQLite":
        (cli.folder / "link").symlink_to(cli.folder)
        return [cli.url, f"sqlite:///{cli.folder}/link/{cli.database.name}"]
    url: str = request.getfixturevalue("cluster")
    return [url, url.replace("127.0.0.1", "localhost")]


def test_a_crowd_shares_the_work(cli: Cli, urls: list[str]) -> None:
    commands = Commands(cli.folder, cli.env)
    creates = [f"study create --backend replay --skip-if-exists {cli.SHRINK} --tag {tag}" for tag in TAGS]
    for words in ([creates[number % len(creates)] for number in range(CROWD)], [RUN] * CROWD):
        crowd = [commands.start(each, "--storage", urls[number % len(urls)]) for number, each in enumerate(words)]
        codes = [command.wait() for command in crowd]
        assert codes == [0] * CROWD, [command.printed for command in crowd]
    for tag in TAGS:
        # In a process of its own, which closes its connections when it ends.
        shown = commands.start("study show --json --storage", urls[0], f"*-{tag}")
        assert shown.wait() == 0, shown.printed
        study = json.loads(shown.printed)
        assert study["result"]["counts"] == Counter(trial["status"] for trial in study["trials"])
        told = [json.dumps(trial["params"], sort_keys=True) for trial in study["trials"]]
        assert len(set(told)) == len(told), "a config was measured twice"
