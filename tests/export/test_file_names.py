"""An export writes into its folder alone, whatever names a storage or a recording holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autotune import servers
from autotune.contract import Call
from autotune.errors import InputError
from autotune.export.file import FileIdentity
from autotune.servers.files import write_all

CALL = Call("vllm", "shrink", {"max_loras": 4, "num_slices": 1, "m": 16, "k": 5120, "n": 16})


@pytest.mark.parametrize("gpu", ["../../../tmp/x", "/tmp/x", "a/b", "x" * 300, "H200\x1b[2J", ""])
def test_a_gpu_that_leads_out_of_the_folder_is_refused(gpu: str) -> None:
    with pytest.raises(InputError, match="GPU of a study of shrink: got"):
        FileIdentity.of(CALL, servers.get("vllm"), gpu)


def test_a_size_that_is_a_text_is_refused() -> None:
    with pytest.raises(InputError, match=r"k: got '\.\./x'"):
        FileIdentity.of(replace(CALL, dims={**CALL.dims, "k": "../x"}), servers.get("vllm"), "NVIDIA H200")  # type: ignore[dict-item]


def test_a_link_at_the_place_of_a_temporary_file_is_not_followed(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "tuned"
    victim.write_text("theirs")
    folder.mkdir()
    (folder / ".a.json.tmp").symlink_to(victim)
    write_all({folder / "a.json": "ours"})
    assert victim.read_text() == "theirs"
    assert (folder / "a.json").read_text() == "ours"
    assert not (folder / "a.json").is_symlink()
