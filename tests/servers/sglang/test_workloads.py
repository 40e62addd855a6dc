"""What was timed on one kind of batches alone has no say for the other, which has a default of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autotune import api
from autotune.config.check import check_folder
from autotune.export.export import export
from autotune.servers import provenance
from autotune.servers.sglang.batch import CsgmvBatch
from autotune.servers.sglang.plugin.drop_in import CsgmvCall
from tests.builders.csgmv_files import GPU, TUNED, call, item


def of_tokens(tokens: int, is_captured: bool) -> CsgmvCall:
    index = torch.empty(8, dtype=torch.int32, device="meta")
    x, weights = (torch.empty(*shape, dtype=torch.float16, device="meta") for shape in ((tokens, 64), (8, 16, 64)))
    batch = CsgmvBatch(index, index, index, index, index, 16, 8)
    return CsgmvCall(x, weights, batch, 1, check_ranks=is_captured)


@pytest.mark.parametrize(
    ("tokens", "is_captured", "kind"),
    [
        (1, False, "decode"),
        (64, False, "decode"),
        (65, False, "prefill"),
        (30_720, False, "prefill"),
        (256, True, "decode"),
        (257, True, None),
    ],
)
def test_calls_tell_kinds_of_batches_apart(tokens: int, is_captured: bool, kind: str | None) -> None:
    """A graph of many tokens may be of prompts, or of as many requests."""
    call = of_tokens(tokens, is_captured)
    assert (call.workload, call.is_decode) == (kind, kind == "decode")


@pytest.mark.parametrize(
    ("op", "workload", "other"),
    [
        ("shrink", "prefill", "decode"),
        ("shrink", "decode", "prefill"),
        ("shrink", "mixed", ""),
        ("expand", "prefill", "decode"),
        ("expand", "mixed", ""),
    ],
)
def test_a_lookup_says_so_and_a_check_finds_no_fault(tmp_path: Path, op: str, workload: str, other: str) -> None:
    about = {"source": "builtin", "problem": {"workload": workload, "decode_requests": [8]}}
    export([replace(item(TUNED, 16, op), is_builtin=True, provenance=about)], tmp_path)
    for found in (api.look_up_builtin(tmp_path, call(op), GPU), api.look_up(tmp_path / "autotune", call(op), GPU)):
        assert found is not None
        assert found.config == TUNED
        assert [line.partition(":")[0] for line in found.warnings] == (
            [f"the plug-in runs its default of the {op} for {other} batches"] if other else []
        )
    filled = api.look_up_builtin(tmp_path, call(op, 32), GPU)
    assert filled is not None
    assert filled.config != TUNED
    assert [line.partition(":")[0] for line in filled.warnings] == ["the plug-in runs its kernel's default"]
    assert check_folder(tmp_path, "sglang")[0] == []


def test_a_side_car_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    about = {"source": "builtin", "problem": {"workload": "prefill"}}
    export([replace(item(TUNED, 16), is_builtin=True, provenance=about)], tmp_path)
    (tmp_path / "autotune" / provenance.FILE_NAME).write_text("{")
    found = api.look_up_builtin(tmp_path, call(), GPU)
    assert found is not None
    assert (found.config, found.warnings) == (TUNED, ())
