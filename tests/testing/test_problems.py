"""Where the conformance suite finds the problems of a kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.contract import registry
from autotune.errors import InputError
from autotune.testing.problems import problems_of
from tests.builders import copying_kernel
from tests.builders.copying_kernel import CopyingKernel

FILE = Path(copying_kernel.__file__)


def test_they_stand_in_the_file_of_the_kernel() -> None:
    assert [problem.label for problem in problems_of(registry.load(f"{FILE}:KERNEL"))] == ["size1", "size7", "size64"]


def test_they_stand_beside_the_module_of_a_kernel_in_a_package() -> None:
    from autotune.kernels.lora_shrink.testing import PROBLEMS

    assert problems_of(registry.load("lora_shrink")) == PROBLEMS["lora_shrink"]


def test_a_kernel_that_no_mapping_names_is_refused() -> None:
    with pytest.raises(InputError, match=r"'nameless' has no problems .*copying_kernel.py or in the module tests"):
        problems_of(CopyingKernel("nameless"))
