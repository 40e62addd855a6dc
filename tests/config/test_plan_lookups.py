"""What `config check` says of a planned model's lookups."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.config.check import check_folder
from autotune.model.shape import load
from autotune.plan.plan import make
from autotune.servers.batches import Batches
from autotune.servers.serving import Serving
from tests.builders.counted_reads import counted_reads

ONLY_QKV = "NVIDIA_H200_SHRINK.json"


@pytest.mark.parametrize(
    ("model", "m_values", "told"),
    [
        ("Mixtral-8x7B", (1, 16), "tune the shape (m 16)"),
        ("Mixtral-8x7B", (3,), "tune the shape (m 16, 32, 64,"),
        ("GPT-OSS-20B", (16,), "compare with bench serve, or serve without a folder (m 16)"),
    ],
)
def test_experts_without_files_are_told_at_sizes_where_their_entries_are_read(
    tmp_path: Path, model: str, m_values: tuple[int, ...], told: str
) -> None:
    (tmp_path / ONLY_QKV).write_text("{}")
    plan = make(load(model), Serving("vllm", tp=1, rank=32, max_loras=8), Batches(m_values=m_values))
    found = [each.message for each in check_folder(tmp_path, "vllm", plan)[0] if "FUSED_MOE" in each.file]
    assert len(found) == 4
    assert all(told in message for message in found), found


def test_a_file_is_read_as_often_for_many_sizes_as_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ONLY_QKV).write_text("{}")
    reads = counted_reads(monkeypatch)
    counts = []
    for m_values in ((16,), (16, 32, 64, 128)):
        plan = make(load("Mixtral-8x7B"), Serving("vllm", tp=1, rank=32, max_loras=8), Batches(m_values=m_values))
        reads.clear()
        check_folder(tmp_path, "vllm", plan)
        counts.append(reads[ONLY_QKV])
    assert counts[0] == counts[1]
