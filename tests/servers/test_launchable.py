"""Values of one entry that Triton cannot compile."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.servers.launchable import unlaunchable


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("block_m", 24, "powers of two from 16"),
        ("BLOCK_SIZE_N", 8, "powers of two from 16"),
        ("num_warps", 64, "powers of two to 32"),
        ("num_warps", True, "powers of two to 32"),
        ("num_ctas", 3, "powers of two to 16"),
        ("num_ctas", 32, "powers of two to 16"),
        ("num_ctas", 10**9, "powers of two to 16"),
        ("split_k", 0, "positive integers"),
        ("maxnreg", -1, "positive integers"),
    ],
)
def test_what_cannot_be_launched_is_found(name: str, value: Any, allowed: str) -> None:
    assert list(unlaunchable({name: value})) == [(name, f"got {value!r}, allowed: {allowed}")]


def test_what_can_be_launched_is_not() -> None:
    config = {"BLOCK_N": 16, "block_k": 512, "num_warps": 32, "num_ctas": 16, "split_k": 64, "maxnreg": None, "x": "y"}
    assert list(unlaunchable(config)) == []
