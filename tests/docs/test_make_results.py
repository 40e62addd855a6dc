"""The page of results is what its script makes of the data."""

from __future__ import annotations

import re

import make_results


def test_the_page_is_made_from_the_data_and_not_by_hand() -> None:
    page = (make_results.DOCS / "results.md").read_text()
    assert page.splitlines() == make_results.page(), "run: python docs/make_results.py"


def test_the_data_name_no_place_on_a_machine() -> None:
    files = sorted((make_results.DOCS / "data").glob("*.json"))
    assert files
    assert [file.name for file in files if re.search(r"/(tmp|root|home|work)/", file.read_text())] == []
