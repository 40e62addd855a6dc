"""Files checked and looked up in from Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune import api
from autotune.contract import Call
from autotune.errors import InputError

SHRINK = {"dtype": "float16", "batch_size": 16, "hidden_size": 5120, "lora_rank": 16, "num_loras": 4}


def test_a_folder_that_cannot_take_files_is_found_ahead() -> None:
    specs = api.of_problems(api.Problems("lora_shrink", SHRINK), api.Request(backend="replay")).specs.values()
    api.check_export(specs, Path("tuned"))
    assert not Path("tuned").exists()
    Path("tuned").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written to"):
        api.check_export(specs, Path("tuned"))


def test_a_lookup_takes_the_gpu_of_the_folders_files() -> None:
    table = {"5": {"1": {"16": {"5120": {"16": {"block_m": 32}}}}}}
    Path("tuned").mkdir()
    Path("tuned/NVIDIA_H200_SHRINK.json").write_text(json.dumps(table))
    call = Call("vllm", "shrink", {"max_loras": 5, "num_slices": 1, "m": 20, "k": 5120, "n": 16})
    found = api.look_up(Path("tuned"), call)
    assert (found.origin, found.key_path) == ("file", ("5", "1", "16", "5120", "16"))
    assert api.look_up(Path("tuned"), call, gpu="NVIDIA L4").origin == "default"
