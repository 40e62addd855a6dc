"""A run that is stopped says where it was; any other error passes as it is."""

from __future__ import annotations

import pytest

from autotune.errors import AutotuneError, HeldError
from autotune.run.stopping import told_where


def test_an_interruption_is_an_error_that_names_the_study() -> None:
    with pytest.raises(AutotuneError, match=r"^stopped in one; nothing measured is lost"), told_where("one"):
        raise KeyboardInterrupt


def test_other_errors_pass() -> None:
    with pytest.raises(HeldError, match=r"^another run is at it$"), told_where("one"):
        raise HeldError("another run is at it")
