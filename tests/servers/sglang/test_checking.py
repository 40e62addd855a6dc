"""Whose files are in a folder, and what SGLang does where a lookup misses or fails."""

from __future__ import annotations

from pathlib import Path

from autotune.servers.checking import Reader
from autotune.servers.lookup import Failure, Step
from autotune.servers.sglang.server import SGLANG


def test_a_reader_for_each_gpu_and_triton_whose_files_are_at_their_place(tmp_path: Path) -> None:
    for folder, device in (
        ("triton_3_6_0", "H200"),
        ("triton_3_5_1", "H200"),
        ("triton_3_6_0", "L4"),
        ("other", "B200"),
    ):
        file = tmp_path / "csgmv_configs" / folder / f"lora_shrink,K=64,R=8,S=1,device={device}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    assert set(SGLANG.checker.readers(tmp_path)) == {
        Reader("H200", "3.6.0"),
        Reader("H200", "3.5.1"),
        Reader("L4", "3.6.0"),
    }


def test_a_nearest_chunk_size_is_told() -> None:
    miss = SGLANG.checker.miss(Step("chunk_size", 16, "128", "nearest"))
    assert miss is not None
    assert (miss.defect, miss.effect) == ("another chunk size", "slower")
    assert "looks up chunk size 16 and takes the entry of 128" in miss.message


def test_a_file_is_read_before_the_first_request() -> None:
    assert SGLANG.checker.crash(Failure("KeyError", "config", None, ""), 128) == "crash at start"
