"""A machine of an H200 with SGLang, or without, as far as making studies asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autotune.contract.gpu import H200
from tests.builders import served_sglang
from tests.builders.double_study import HERE


@contextmanager
def machine(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> Iterator[None]:
    """Makes studies describe themselves on an H200.

    Args:
        folder: Where SGLang's stand-in is laid out; None for a machine without it.
    """
    monkeypatch.setattr("autotune.study.describe.cuda_available", lambda: True)
    monkeypatch.setattr("autotune.study.describe.current_gpu", lambda: H200)
    monkeypatch.setattr("autotune.study.describe.current_environment", lambda: HERE)
    if folder is not None:
        monkeypatch.syspath_prepend(served_sglang.install(folder))
    served_sglang.forget()
    yield
    served_sglang.forget()
