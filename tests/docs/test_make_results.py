"""The page of results is what its script makes of the data."""

from __future__ import annotations

import make_results


def test_the_page_is_made_from_the_data_and_not_by_hand() -> None:
    page = (make_results.DOCS / "results.md").read_text()
    assert page.splitlines() == make_results.page(), "run: python docs/make_results.py"
