"""Kernels are found by name or by file; what cannot be found is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.contract import registry
from autotune.errors import InputError

FILE = Path(__file__).parents[1] / "builders/copying_kernel.py"


def test_a_kernel_in_a_file_is_loaded_once() -> None:
    kernel = registry.load(f"{FILE}:KERNEL")
    assert kernel.name == "copy"
    assert registry.load(f"{FILE}:KERNEL") is kernel


def test_a_second_kernel_of_a_name_is_refused() -> None:
    twice = registry.Registry()
    twice.register(registry.load(f"{FILE}:KERNEL"))
    with pytest.raises(InputError, match="'copy' is registered twice"):
        twice.register(registry.load(f"{FILE}:KERNEL"))


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("no_such_kernel", "got 'no_such_kernel', allowed: .*fused_moe_lora, .*lora_shrink"),
        ("nowhere.py:KERNEL", "nowhere.py, no such file"),
        ("lora_shrink@nobody", "'lora_shrink' of nobody, a server whose own kernels are not timed"),
        ("lora_shrink@engine", "'lora_shrink' of engine, a server whose own kernels are not timed"),
        (f"{FILE}:PROBLEMS", "which is dict; allowed: a Kernel object"),
    ],
)
def test_what_is_no_kernel_is_refused(reference: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        registry.load(reference)
