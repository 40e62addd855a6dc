"""The page of a report: whole in itself, safe with anybody's text, and drawn by a browser without complaint."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from autotune import api
from autotune.report.content import ReportContent, ReportRow
from autotune.report.page import html
from tests.conftest import Cli

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Reader(HTMLParser):
    """Notes every tag, id and address of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "srcset", "action"):
                self.addresses.append(value or "")


@pytest.fixture
def page(finished: Cli) -> str:
    pytest.importorskip("matplotlib")
    chosen = api.find(api.open_storage(finished.url))
    return api.page(api.report(chosen), chosen)


def test_a_page_loads_nothing_and_runs_nothing(page: str) -> None:
    read = Reader(page)
    assert "script" not in read.tags
    assert all(address.startswith("#") for address in read.addresses)
    assert not re.search(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def test_a_page_has_every_plot_and_no_id_twice(page: str) -> None:
    read = Reader(page)
    # Speed-ups, floors, and one for each study.
    assert read.tags.count("svg") == 4
    assert len(read.ids) == len(set(read.ids))
    assert "currentColor" in page
    assert "Search, importance and space of lora_shrink" in page


def test_text_of_anybody_is_text() -> None:
    hostile = "<script>alert(1)</script>\x1b[31m"
    row = ReportRow(
        hostile, hostile, hostile, 1, 0, "k", "s", "h", hostile, "default", 1.0, 1.0, None, None, {}, 3, hostile
    )
    made = ReportContent(hostile, "now", "m", (row,), (), {}, (hostile,), (hostile,), (hostile,))
    page = html(made, [], [])
    assert "script" not in Reader(page).tags
    assert "\x1b" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_draws_it_without_a_complaint(page: str, tmp_path: Path) -> None:
    file, picture = tmp_path / "report.html", tmp_path / "report.png"
    file.write_text(page)
    flags: list[Any] = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command = [CHROMIUM, *flags, f"--user-data-dir={tmp_path}/profile", f"--screenshot={picture}", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert picture.stat().st_size > 20_000
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line or "Refused to" in line]
