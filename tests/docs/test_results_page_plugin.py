"""The tables of this project's kernels in a server's place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from results_page import plugin


def _row(**changed: Any) -> dict[str, Any]:
    about = {"model": "Qwen3-8B", "layer": "qkv", "op": "lora_expand", "m": 16}
    return {**about, "own_us": 6.0, "ours_us": 3.0, "ratio": 2.0, "floor_us": 1.5, **changed}


def test_a_row_a_layer_and_a_column_a_size_which_may_lack_a_cell(tmp_path: Path) -> None:
    rows = [_row(m=8192, own_us=209.3), _row(), _row(layer="o", ratio=0.9)]
    about = {"environment": {"gpu": "H200", "triton": "3.6.0"}, "rows": rows}
    (tmp_path / plugin.PARTS[0].file).write_text(json.dumps(about))
    page = plugin.section(tmp_path)
    assert "| model, layer, op | m 16 | m 8192 |" in page
    assert "| Qwen3-8B qkv lora_expand | 6.0 → 3.0 (2.00x, 50%) | 209 → 3.0 (2.00x, 50%) |" in page
    assert "| Qwen3-8B o lora_expand | 6.0 → 3.0 (0.90x, 50%) |  |" in page
    assert "3 cells: 0.90x to 2.00x as fast; 1 slower than the server's own by more than 1%." in page
    assert any(line.endswith("Machine: H200 (triton 3.6.0).") for line in page)


def test_a_step_is_added_up_over_all_blocks_where_all_its_launches_were_timed() -> None:
    rows = [_row(), _row(layer="o", own_us=4.0), _row(m=8192)]
    assert plugin.steps(rows) == (
        ("step", "the server's own", "ours", "floor"),
        [["Qwen3-8B m 16", "0.36", "0.22", "0.11"]],
    )
    assert plugin.steps([_row(model="of another name")]) is None


def test_a_decode_step_is_added_up_over_all_blocks() -> None:
    of_decode = [_row(batch="decode 1", chunk_size=16), _row(batch="decode 1", chunk_size=16, layer="o", ours_us=1.0)]
    assert plugin.decode_steps([*of_decode, _row(batch="one adapter", chunk_size=16)]) == (
        ("step", "the server's own", "ours"),
        [["Qwen3-8B decode 1", "0.43", "0.14"]],
    )


def test_nothing_timed_is_no_section(tmp_path: Path) -> None:
    assert plugin.section(tmp_path) == []
