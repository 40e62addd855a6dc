"""What every kernel's refusal of bad flags must be like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from autotune.contract import AnyKernel
from autotune.errors import InputError


def assert_refused_in_a_line(kernel: AnyKernel, flags: Mapping[str, Any], message: str) -> None:
    """Asserts that the flags make no problem of the kernel, with an error of one line that says so."""
    with pytest.raises(InputError, match=message) as error:
        kernel.problem_from_flags(flags)
    assert "\n" not in str(error.value)
