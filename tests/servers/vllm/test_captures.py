"""The token counts that vLLM captures."""

from __future__ import annotations

from autotune.servers.vllm.captures import capture_sizes


def test_capture_sizes_are_the_servers() -> None:
    assert capture_sizes(256, 8192) == (1, 2, 4, *range(8, 256, 8), *range(256, 513, 16))
    assert capture_sizes(20, 8192) == (1, 2, 4, 8, 16, 24, 32, 40)
    assert capture_sizes(256, 30) == (1, 2, 4, 8, 16, 24)
