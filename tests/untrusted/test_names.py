"""Names that become files lead nowhere else."""

from __future__ import annotations

import pytest

from autotune.errors import InputError
from autotune.untrusted.names import check_name, check_relative


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "a\\b", "..", ".", "", "a\x1b[2J", "a\nb", "x" * 101, 5, None, "\ud800"]
)
def test_a_name_that_may_not_become_a_files_is_refused(name: object) -> None:
    with pytest.raises(InputError, match="gpu: got") as refused:
        check_name(name, "gpu")
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "a/../b", "./a", "", "a\n", "x" * 201])
def test_a_path_that_leaves_its_folder_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="output folder"):
        check_relative(path, "file")


def test_sound_names_stay_as_they_are() -> None:
    assert check_name("NVIDIA RTX 4090 (Laptop)", "gpu") == "NVIDIA RTX 4090 (Laptop)"
    assert check_relative("csgmv/triton_3_5_1/a,K=1.json", "file")
