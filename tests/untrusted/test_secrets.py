"""Passwords in the URLs of databases."""

from __future__ import annotations

import pytest

from autotune.untrusted.secrets import without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:a@h:1/d", "postgresql://me:***@h:1/d"),
        ("postgresql+psycopg://me:a@b/c@h/d", "postgresql+psycopg://me:***@h/d"),
        ("mysql+pymysql://:a@h/d?ssl_ca=x", "mysql+pymysql://:***@h/d?ssl_ca=x"),
        (
            "postgresql://h/d?user=me&password=a&sslmode=require",
            "postgresql://h/d?user=me&password=***&sslmode=require",
        ),
        ("mysql://h/d?Passwd=a", "mysql://h/d?Passwd=***"),
        ("://me:a@h", "://me:***@h"),
        ("me:a@h", "me:***@h"),
        ("postgresql://me@h:1/d", "postgresql://me@h:1/d"),
        ("postgresql://h:5432/d", "postgresql://h:5432/d"),
        ("sqlite:////data/a.db", "sqlite:////data/a.db"),
    ],
)
def test_passwords_are_hidden_and_nothing_else(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
