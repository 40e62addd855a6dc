"""Hides passwords in the URLs of databases, wherever they stand in one."""

from __future__ import annotations

import re

_USERS = re.compile(r"(://|^(?!\w[\w+.-]*://))([^/\s:@]*):\S*@")
_OPTIONS = re.compile(r"([?&][^=&\s]*(?:pass|secret|token|key)[^=&\s]*=)[^&\s]*", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """Returns a URL, whole or malformed, or a text with one, with ``***`` in place of passwords."""
    return _OPTIONS.sub(r"\1***", _USERS.sub(r"\1\2:***@", text))
