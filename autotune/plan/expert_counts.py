"""Counts how often each expert was picked, from a file of recorded expert ids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autotune.errors import InputError
from autotune.untrusted import reading

_FLAG = "--topk-ids"
_ID = re.compile(r"-?[0-9]{1,9}")


def count_experts(file: Path, num_experts: int, top_k: int) -> tuple[int, ...]:
    """Counts how often each expert is picked in a recording.

    Args:
        file: One row a token, each of `top_k` different expert ids: a JSON list of lists (``.json``), or else text with
            a row a line, ids separated by commas or blanks, empty lines and lines that begin with # left out.
        num_experts: Ids are 0 to num_experts - 1.

    Raises:
        InputError: Naming the file and the line (of JSON: the row) that is malformed.
    """
    counts = [0] * num_experts
    for place, row in _rows(file):
        if len(row) != top_k:
            raise InputError(f"{_FLAG}: {place}: got {len(row)} ids, allowed: {top_k} (--top-k-num), one row a token")
        for expert in row:
            if not 0 <= expert < num_experts:
                raise InputError(f"{_FLAG}: {place}: got expert {expert}, allowed: 0 to {num_experts - 1}")
            counts[expert] += 1
        if twice := [expert for expert in row if row.count(expert) > 1]:
            raise InputError(
                f"{_FLAG}: {place}: got expert {twice[0]} twice, allowed: {top_k} different ones of a token"
            )
    if not any(counts):
        raise InputError(f"{_FLAG}: {file} holds no rows; give the expert ids of at least one token")
    return tuple(counts)


def _rows(file: Path) -> Iterator[tuple[str, list[int]]]:
    try:
        text = reading.read_text(file, "utf-8-sig")
    except OSError as error:
        raise InputError(f"{_FLAG}: cannot read {file} ({error.strerror}); give a file of expert ids") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{_FLAG}: {file} is no text; give expert ids as JSON or as text") from error
    except ValueError as error:
        raise InputError(f"{_FLAG}: cannot read {file} ({error}); give a file of expert ids") from error
    return _json_rows(file, text) if file.suffix == ".json" else _text_rows(file, text)


def _json_rows(file: Path, text: str) -> Iterator[tuple[str, list[int]]]:
    try:
        content = reading.json_of(text)
    except ValueError as error:
        line = f" line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{_FLAG}: {file}{line}: no valid JSON; give a list of lists of expert ids") from error
    if not isinstance(content, list):
        raise InputError(f"{_FLAG}: {file}: got {type(content).__name__}, allowed: a list of lists of expert ids")
    for number, row in enumerate(content, start=1):
        place = f"{file} row {number}"
        if not isinstance(row, list) or not all(_is_id(expert) for expert in row):
            raise InputError(f"{_FLAG}: {place}: got {json.dumps(row)[:60]}, allowed: a list of integers")
        yield place, row


def _text_rows(file: Path, text: str) -> Iterator[tuple[str, list[int]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        place = f"{file} line {number}"
        if bad := [word for word in words if not _ID.fullmatch(word)]:
            raise InputError(f"{_FLAG}: {place}: got {bad[0][:40]!r}, allowed: integers separated by commas or blanks")
        yield place, [int(word) for word in words]


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
