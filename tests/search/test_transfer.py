"""Times of other shapes as the model's mean."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from autotune.measure.recording import Recording
from autotune.search import transfer
from autotune.search.arrays import Floats, Indices
from autotune.search.neighbour import Neighbour
from autotune.search.surrogate import Belief, Surrogate
from autotune.search.transfer import transferred
from tests.builders.recordings import neighbour_of


def test_a_neighbour_of_the_same_shape_is_a_good_mean(toy: Recording) -> None:
    expected = transferred(toy.space, [neighbour_of(toy)])
    assert expected is not None
    ok = [i for i, m in enumerate(toy.measurements) if m.status == "ok"]
    times = [math.log(toy.measurements[i].median_us) for i in ok]
    assert np.corrcoef(expected[ok], times)[0, 1] > 0.9
    assert transferred(toy.space, []) is None
    assert transferred(toy.space, [Neighbour({}, [{"other": 1}] * 20, [1.0] * 20)]) is None


def test_a_neighbour_is_modelled_once_for_a_space(toy: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[int] = []

    class Counted(Surrogate):
        def believe(self, timed: Indices, log_us: Floats) -> Belief:
            models.append(len(timed))
            return super().believe(timed, log_us)

    monkeypatch.setattr(transfer, "Surrogate", Counted)
    first, second = neighbour_of(toy), replace(neighbour_of(toy), log_us=[-t for t in neighbour_of(toy).log_us])
    alone = transferred(toy.space, [first])
    both = transferred(toy.space, [replace(first, winner=None), second])
    assert len(models) == 2
    assert alone is not None
    assert both is not None
    again = transferred(toy.space, [first])
    assert again is not None
    assert again.tolist() == alone.tolist()
    assert len(models) == 2, "the same times need no model again"
    estimate = np.zeros(len(toy.space))
    transferred(toy.space, [replace(first, log_estimate=list(first.log_us))], estimate)
    assert len(models) == 3, "other estimates do"


def test_a_neighbour_passes_on_the_error_of_its_estimate(toy: Recording) -> None:
    estimate = np.zeros(len(toy.space))
    far = replace(neighbour_of(toy), log_us=[t + 5 for t in neighbour_of(toy).log_us])
    explained = replace(far, log_estimate=far.log_us)
    expected = transferred(toy.space, [explained], estimate)
    assert expected is not None
    assert np.ptp(expected) == pytest.approx(0, abs=1e-6), "nothing left to learn from it"
    unknown = transferred(toy.space, [far], None)
    assert unknown is not None
    assert np.ptp(unknown) > 0.1
