"""The pages are one site: each is in the navigation, every link leads somewhere, it builds without a warning."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (*ROOT.glob("*.md"), *DOCS.glob("*.md"), *ROOT.glob("kernels/*/*.md"), *ROOT.glob("studies/*/*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def links(page: Path) -> list[str]:
    """Returns what a page links to here, code left out."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [target for target in LINK.findall(text) if not re.match(r"\w+:", target)]


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub and the site spell them."""
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(page.read_text()))
    return {each.replace(" ", "-") for each in words}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_a_page_links_to_nothing_outside_the_site(page: Path) -> None:
    assert not [link for link in links(page) if link.startswith(("../", "/"))]


def test_every_page_is_in_the_navigation_and_in_the_readme() -> None:
    (listed,) = re.findall(r"^```\{toctree\}\n(.*?)^```", (DOCS / "index.md").read_text(), re.MULTILINE | re.DOTALL)
    names = [re.sub(r".*<(\w+)>", r"\1", line) for line in listed.splitlines() if line and not line.startswith(":")]
    pages = {page.stem for page in DOCS.glob("*.md")} - {"index"}
    assert sorted(names) == sorted(pages)
    assert {f"docs/{name}.md" for name in pages} <= set(links(ROOT / "README.md"))


def test_contributing_says_what_every_script_is_for() -> None:
    named = re.findall(r"[`/]([\w*]+\.(?:py|sh))\b", (ROOT / "CONTRIBUTING.md").read_text())
    scripts = {file.name for file in DOCS.iterdir() if file.suffix in (".py", ".sh")} - {"conf.py"}
    known = {script for script in scripts for name in named if fnmatch(script, name)}
    assert known == scripts


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("sphinx", "myst_parser")), reason="needs the extra docs"
)
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "-b", "html"]
    done = subprocess.run([*command, DOCS, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Search Page" not in (tmp_path / "index.html").read_text(), "a page has the name of one of Sphinx's own"
    assert "write_csv" in (tmp_path / "python.html").read_text()
