"""What is out of resources rules out what needs no less."""

from __future__ import annotations

import optuna

from autotune.contract.space import Space
from autotune.measure.recording import Recording
from autotune.measure.result import Measurement
from autotune.search.history import Observer
from autotune.search.making import make_search
from autotune.search.resources import dominated
from autotune.study import trials


def _at(recording: Recording, m: int, n: int, stages: int, registers: int | None) -> int:
    return recording.space.index({"BLOCK_M": m, "BLOCK_N": n, "num_stages": stages, "maxnreg": registers})


def test_no_smaller_than_out_of_resources(toy: Recording) -> None:
    failed = _at(toy, 64, 64, 3, None)
    hopeless = dominated(toy.space, [failed])
    assert hopeless[_at(toy, 128, 64, 3, None)]
    assert hopeless[_at(toy, 64, 64, 4, None)]
    assert not hopeless[_at(toy, 128, 64, 2, None)]
    assert not hopeless[_at(toy, 128, 128, 4, 64)], "a register cap is another matter"
    assert not dominated(toy.space, []).any()


def test_a_block_of_more_segments_needs_no_less() -> None:
    configs = [
        {"BLOCK_N": n, "num_warps": warps, "SEGMENTS": joined}
        for n in (16, 32)
        for warps in (4, 8)
        for joined in (1, 4)
    ]
    space = Space(configs, configs[0])
    hopeless = dominated(space, [space.index({"BLOCK_N": 16, "num_warps": 4, "SEGMENTS": 1})])
    assert [config["num_warps"] for config, out in zip(space.configs, hopeless, strict=True) if out] == [4] * 4
    assert not dominated(space, [space.index({"BLOCK_N": 16, "num_warps": 4, "SEGMENTS": 4})])[0]


def test_hopeless_configs_come_last(toy: Recording) -> None:
    for name in ("random", "tpe", "gp"):
        search = make_search(name, toy.space, 0)
        study = optuna.create_study(sampler=search.sampler)
        for registers in (None, 64, 128):
            config = toy.space.configs[_at(toy, 64, 64, 2, registers)]
            trials.add_failure(study, toy.space, config, Measurement("out_of_resources"))
        hopeless = Observer(toy.space).observe(study).hopeless
        hopeful = len(toy.space) - 3 - int(hopeless.sum())
        order = [toy.space.index(config) for config in search.sampler.shortlist(study, len(toy.space))]
        assert hopeless.any()
        assert not hopeless[order[:hopeful]].any()
        assert hopeless[order[hopeful:]].all()
