"""Lines of shell that start a server: what stands around the server's own words."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.servers.serve_words import Program, Spelling, find

SPELLINGS = {"s": Spelling((("s", "serve"), ("-m", "s.serve")), ("org/s",))}


def arguments(text: str) -> list[str] | None:
    program = find(text, SPELLINGS)
    return None if program is None else list(program.arguments)


@pytest.mark.parametrize(
    "text",
    [
        "s serve M --a 1",
        "/opt/env/bin/s serve M --a 1",
        'CMD ["s", "serve", "M", "--a", "1"]',
        '["s", "serve", "M", \n "--a", "1"]',
        "exec $(which s) serve M --a 1",
        "`command -v /bin/s` serve M --a 1",
        "cd /app && s serve M --a 1",
        "export X=1; nohup s serve M --a 1 > log 2>&1 &",
        "s serve M --a 1 2> err.log | tee log",
        "s serve M > log --a 1",
        "(s serve M --a 1)",
        "s serve M \\\n  --a 1",
        "s serve M \\ \t\n  --a 1",
        "s serve M \\\r\n  --a 1\r\n",
        "# starts it\ns serve M --a 1  # on port 8000\necho done",
        "s serve\n  M\n  --a 1",
        "bash -c 's serve M --a 1'",
        """ssh host "sudo bash -lc 's serve M --a 1'" """,
        "docker run --gpus all -p 8000:8000 org/s:v1.2 M --a 1",
        "podman run registry.example:5000/org/s@sha256:0f M --a 1",
        "docker run --entrypoint s org/s serve M --a 1",
        "docker run --entrypoint=bash org/s -c 's serve M --a 1'",
        "kubectl exec pod -- s serve M --a 1",
    ],
)
def test_the_servers_own_words_are_found(text: str) -> None:
    assert arguments(text) == ["M", "--a", "1"]


@pytest.mark.parametrize("text", ["", "s", "serve s", "echo org/s", "docker run other/s M", "cd s; serve M"])
def test_what_starts_no_server_gives_nothing(text: str) -> None:
    assert not arguments(text)


def test_what_is_quoted_stays_as_it_is() -> None:
    text = """s serve M --a '{"b": "c # > d"}' "e\n-f \\"g\\"" """
    assert arguments(text) == ["M", "--a", '{"b": "c # > d"}', 'e\n-f "g"']


@pytest.mark.parametrize(
    "text",
    [
        "X=1 s serve M",
        "env X=1 s serve M",
        "export X=1 && s serve M",
        "docker run -e X=1 org/s M",
        "docker run -eX=1 org/s M",
        "docker run --env=X=1 org/s M",
        "X=1 bash -c 's serve M'",
    ],
)
def test_a_variable_is_of_the_server_wherever_it_is_set(text: str) -> None:
    program = find(text, SPELLINGS)
    assert program is not None
    assert program.environment == {"X": "1"}


@given(st.lists(st.text(), min_size=1))
def test_words_that_a_shell_would_pass_on_arrive(words: list[str]) -> None:
    assert find(f"s serve {shlex.join(words)}", SPELLINGS) == Program("s", tuple(words), {})
