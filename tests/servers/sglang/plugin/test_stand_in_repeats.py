"""SGLang's calls of one kind, of which the first is launched and the others repeat its launches."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autotune.contract.launch import Launch
from autotune.kernels.common.chunks import ChunkedBatch, Pool
from autotune.kernels.csgmv_expand.drop_in import DROP_IN as EXPAND
from autotune.kernels.csgmv_shrink import splitting
from autotune.kernels.csgmv_shrink.drop_in import DROP_IN as SHRINK
from autotune.kernels.csgmv_shrink.drop_in import CsgmvShrinkDropIn
from autotune.servers.plugin import capture, warm_up
from autotune.servers.plugin.kernel_configs import KernelConfigs
from autotune.servers.sglang import facts
from autotune.servers.sglang.batch import CsgmvBatch
from autotune.servers.sglang.plugin.drop_in import CsgmvCall, CsgmvDropIn
from autotune.servers.sglang.plugin.stand_in import StandIn

POOL = Pool((0, 16, 16, 16), (0.0, 0.5, 1.0, 2.0))
WIDTHS = (48, 16)
HIDDEN, RANK = 64, 16


class Interpreted:
    """Stands for what Triton compiles, which its interpreter does not."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        fn, options = self._launch.fn, self._launch.options
        others = {name: value for name, value in options.items() if name not in fn.arg_names}
        return lambda *parameters: fn[grid](*parameters, **others)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """What is laid out anew."""
    found: list[Launch] = []
    own = Launch.run

    def run(launch: Launch) -> Any:
        found.append(launch)
        kernel = own(launch)
        return Interpreted(launch) if kernel is None else kernel

    monkeypatch.setattr(Launch, "run", run)
    monkeypatch.setattr(warm_up, "compile_ahead", lambda *_: None)
    return found


def batch(slots: list[int], device: str, chunk_size: int = 16, segments: int = 8) -> CsgmvBatch:
    made = ChunkedBatch.build(torch.tensor(slots), POOL, chunk_size, device, segments)
    return CsgmvBatch(**vars(made))


def call(drop_in: CsgmvDropIn[Any], slots: list[int], device: str, seed: int, **of_batch: Any) -> CsgmvCall:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).half().to(device)

    tokens, columns, slices = len(slots), sum(WIDTHS), len(WIDTHS)
    found = batch(slots, device, **of_batch)
    if drop_in is SHRINK:
        return CsgmvCall(normal(tokens, HIDDEN), normal(len(POOL.ranks), slices * RANK, HIDDEN), found, slices)
    x, b = normal(tokens, slices * RANK), normal(len(POOL.ranks), columns, RANK)
    return CsgmvCall(x, b, found, slices, WIDTHS, normal(tokens, columns))


def theirs(*_: Any, **__: Any) -> torch.Tensor:
    raise AssertionError("the server's own is not to run")


def stand_in(drop_in: CsgmvDropIn[Any]) -> StandIn:
    configs: Any = KernelConfigs(None, lambda *_: None, Path("kernel.py"), facts.REQUIRED)
    return StandIn(drop_in, theirs, configs)


def result(of: StandIn, made: CsgmvCall) -> torch.Tensor:
    """Runs a call on a base of its own; rows that nobody writes are zeros."""
    out = of(made if made.base is None else replace(made, base=made.base.clone()), 128, {})
    ranks = made.batch.lora_ranks.tolist()
    slots = torch.zeros(made.x.shape[0], dtype=torch.long)
    starts, owners = made.batch.seg_indptr.tolist(), made.batch.weight_indices.tolist()
    for segment, owner in enumerate(owners):
        slots[made.batch.permutation[starts[segment] : starts[segment + 1]].long().cpu()] = owner
    written = torch.tensor([ranks[slot] > 0 for slot in slots.tolist()]).to(out.device)
    return torch.where(written[:, None], out, torch.zeros_like(out))


@pytest.mark.parametrize("drop_in", [SHRINK, EXPAND], ids=lambda each: each.name)
def test_calls_of_one_kind_are_launched_again_for_their_own_tensors(
    drop_in: CsgmvDropIn[Any], launched: list[Launch], device: str
) -> None:
    """Other weights, other adapters for as many tokens: what an own stand-in launches anew is the same."""
    ours = stand_in(drop_in)
    result(ours, call(drop_in, [1, 2, 0, 3, 1, 1, 2], device, 0))
    for seed, slots in enumerate(([3, 3, 1, 0, 2, 2, 2], [0, 1, 2, 3, 0, 1, 2]), start=1):
        made = call(drop_in, slots, device, seed)
        launched.clear()
        again = result(ours, made)
        assert not launched
        assert torch.equal(again, result(stand_in(drop_in), made))
        assert len(launched) == 1


@pytest.mark.parametrize("drop_in", [SHRINK, EXPAND], ids=lambda each: each.name)
def test_other_kinds_of_calls_are_launched_anew(drop_in: CsgmvDropIn[Any], launched: list[Launch], device: str) -> None:
    ours, slots = stand_in(drop_in), [1, 2, 0, 3, 1, 1, 2]
    first = call(drop_in, slots, device, 0)
    result(ours, first)
    aligned = replace(first.batch, rank_alignment=9 - first.batch.rank_alignment)
    others = {
        "tokens": call(drop_in, slots[:5], device, 0),
        "chunk size": call(drop_in, slots, device, 0, chunk_size=32),
        "segments": call(drop_in, slots, device, 0, segments=16),
        "alignment": replace(first, batch=aligned),
        "ranks": replace(first, check_ranks=True),
    }
    if drop_in is EXPAND:
        wide = torch.zeros(len(slots), 2 * sum(WIDTHS), dtype=torch.half, device=device)[:, : sum(WIDTHS)]
        others["rows of the output"] = replace(first, base=wide)
    for name, made in others.items():
        launched.clear()
        ours(made, 128, {})
        assert len(launched) == 1, name


def test_calls_that_share_k_have_kinds_of_their_own(
    launched: list[Launch], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A capture that finds no counts launches what needs none; an eager call of the same batch does not repeat that."""
    monkeypatch.setattr(splitting, "_UNSPLIT", 32)
    monkeypatch.setattr(splitting, "_LEAST_DEPTH", 16)
    ours, slots = stand_in(CsgmvShrinkDropIn()), [1, 2, 0, 3, 1, 1, 2]
    first, other = (call(SHRINK, slots, device, seed) for seed in (0, 1))
    with monkeypatch.context() as patch:
        patch.setattr(capture, "is_on", lambda _: True)
        result(ours, first)
    alone = result(ours, first)
    assert ["PARTS" in launch.options for launch in launched] == [False, True]
    launched.clear()
    again = result(ours, other)
    assert not launched
    assert torch.equal(again, result(stand_in(CsgmvShrinkDropIn()), other))
    assert torch.equal(result(ours, first), alone)


def drawn(drop_in: CsgmvDropIn[Any]) -> st.SearchStrategy[CsgmvCall]:
    """Draws calls that differ in little, without memory."""

    @st.composite
    def one(draw: st.DrawFn) -> CsgmvCall:
        def among(*values: Any) -> Any:
            return draw(st.sampled_from(values))

        tokens, segments, chunk_size = among(40, 300), among(4, 20), among(16, 32)
        dtype, ranks = among(torch.float16, torch.bfloat16), among(16, 64)
        index = partial(torch.empty, dtype=among(torch.int32, torch.int64), device="meta")
        found = CsgmvBatch(
            permutation=index(tokens),
            seg_indptr=index(segments + 1),
            weight_indices=index(segments),
            lora_ranks=index(4),
            scalings=torch.empty(4, device="meta"),
            chunk_size=chunk_size,
            rank_alignment=among(1, 8),
        )
        empty = partial(torch.empty, dtype=dtype, device="meta")
        widths = among((512, 64), (64, 512), (576,))
        slices, check = len(widths), among(False, True)
        if drop_in is SHRINK:
            x, a = empty(tokens, among(64, 128, 4096)), partial(empty, 4, slices * ranks)
            return CsgmvCall(x, a(x.shape[1]), found, slices, check_ranks=check)
        base = among(None, empty(tokens, sum(widths)), empty(tokens, 2 * sum(widths))[:, : sum(widths)])
        x, b = empty(tokens, slices * ranks), empty(4, sum(widths), ranks)
        return CsgmvCall(x, b, found, slices, widths, base, check)

    return one()


@pytest.mark.parametrize("drop_in", [SHRINK, EXPAND], ids=lambda each: each.name)
@given(data=st.data())
def test_calls_of_one_kind_would_all_be_launched_alike(drop_in: CsgmvDropIn[Any], data: st.DataObject) -> None:
    def told(made: CsgmvCall) -> tuple[Any, ...]:
        arguments = drop_in.arguments(made, drop_in.output(made), drop_in.workspace(made))
        launches = drop_in.launches(arguments, drop_in.default_config(made))
        rest = [[None if isinstance(each, torch.Tensor) else each for each in launch.args] for launch in launches]
        types = [[each.dtype for each in launch.args if isinstance(each, torch.Tensor)] for launch in launches]
        whole = [(launch.fn, launch.grid, dict(launch.options)) for launch in launches]
        return drop_in.outside(made), drop_in.lookup(made), made.workload, whole, rest, types

    one, two = data.draw(drawn(drop_in)), data.draw(drawn(drop_in))
    if (one.shape_key, one.batch_key) == (two.shape_key, two.batch_key):
        assert told(one) == told(two)
    names = ("chunk_size", "rank_alignment", "weight_indices")
    changed = [replace(one, batch=replace(one.batch, **{name: getattr(two.batch, name)})) for name in names]
    for other in (
        *changed,
        replace(one, check_ranks=two.check_ranks),
        replace(one, x=two.x),
        replace(one, base=two.base),
    ):
        if not drop_in.outside(other) and told(one) != told(other):
            assert (one.shape_key, one.batch_key) != (other.shape_key, other.batch_key)
