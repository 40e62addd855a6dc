"""Hypothesis' strategies of files that are nearly sound: JSON with odd values, damaged text, weights."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import hypothesis.strategies as st

ODD_VALUES: Sequence[Any] = (
    *(None, True, False, 0, -1, 1, 3, 16, 2**31, 2**63, 10**19, 1.5, 0.1, 1e308, float("nan"), float("inf")),
    *("", "16", "-16", "x", "²", "٣", "\x1b[2J", "[/x]", "../../outside", "/outside", "a" * 300, "\ud800", "NaN"),
    *([], {}, [None], [[]], {"": 1}, {"a": {"b": None}}, [1, "x"], [[[[1]]]]),
)
ODD_KEYS = ("", "-1", "0", "016", "²", "1e3", "a", "../x", "\x1b]0;x\x07", "9" * 30, "1_0")
ODD_TEXTS = (
    *("", "\0", "{", "]", "null", "NaN", "[" * 3000, '{"a":' * 3000, "9" * 6000, "-", ",", "\ufeff", '"', "\\ud800"),
    *("\n", "1,2,3\n", "x=1\n", "[a]\n", "a.b.c = 1\n", "=", ";", "\t", "\x1b[2J"),
)

Place = tuple[str | int, ...]


def places(node: Any, place: Place = ()) -> Iterator[Place]:
    """Lists every place in a JSON document, the whole of it first."""
    yield place
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in below:
        yield from places(child, (*place, name))


def put(document: Any, place: Place, value: Any) -> Any:
    """Returns a document with another value at a place."""
    if not place:
        return value
    changed = node = copy.deepcopy(document)
    for name in place[:-1]:
        node = node[name]
    node[place[-1]] = value
    return changed


@st.composite
def documents(draw: st.DrawFn, sound: Any) -> Any:
    """Draws a document with up to three odd values or keys in it."""
    changed = sound
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from([*places(changed)]))
        if place and isinstance(place[-1], str) and draw(st.booleans()):
            parent = changed
            for name in place[:-1]:
                parent = parent[name]
            renamed = {(draw(st.sampled_from(ODD_KEYS)) if k == place[-1] else k): v for k, v in parent.items()}
            changed = put(changed, place[:-1], renamed)
        else:
            changed = put(changed, place, draw(st.sampled_from(ODD_VALUES)))
    return changed


@st.composite
def texts(draw: st.DrawFn, sound: str) -> bytes:
    """Draws a file's content: the sound one with up to two pieces cut out, or odd text put in their place."""
    changed = sound
    for _ in range(draw(st.integers(0, 2))):
        begin = draw(st.integers(0, len(changed)))
        end = draw(st.integers(begin, min(len(changed), begin + 40)))
        changed = changed[:begin] + draw(st.sampled_from(ODD_TEXTS)) + changed[end:]
    content = changed.encode(errors="surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        content = content[: draw(st.integers(0, len(content)))] + draw(st.binary(max_size=20))
    return content


def json_files(sound: Any) -> st.SearchStrategy[bytes]:
    """Draws JSON files that are nearly sound."""
    spelled = documents(sound).map(json.dumps)
    return spelled.flatmap(lambda text: st.one_of(st.just(text.encode()), texts(text)))


@st.composite
def safetensors(draw: st.DrawFn, header: Any, content_bytes: int) -> bytes:
    """Draws safetensors files that are nearly sound: a header, its length before it, and the tensors' bytes."""
    spelled = draw(json_files(header))
    length = draw(st.sampled_from([len(spelled)] * 3 + [0, 1, 2**20, 2**40, 2**64 - 1]))
    return (
        struct.pack("<Q", length)
        + spelled
        + bytes(draw(st.sampled_from([content_bytes] * 3 + [0, content_bytes // 2])))
    )
