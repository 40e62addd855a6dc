"""Our own searches on a recorded space: what they are told in advance, and how they end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from autotune.bench import own_searches
from autotune.bench.own_searches import Knowledge
from autotune.measure.recording import Recording
from autotune.search.api import Search
from autotune.search.making import make_search
from autotune.search.neighbour import Neighbour


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[list[Neighbour]]:
    """Returns the neighbours that each search is told of."""
    found: list[list[Neighbour]] = []

    def noted(
        name: str, space: Any, seed: int, neighbours: Sequence[Neighbour] = (), *rest: Any, **more: Any
    ) -> Search:
        found.append(list(neighbours))
        return make_search(name, space, seed, neighbours, *rest, **more)

    monkeypatch.setattr(own_searches, "make_search", noted)
    return found


def test_a_neighbour_is_another_recording_of_the_kernel(
    toy: Recording, small: Recording, told: list[list[Neighbour]]
) -> None:
    outcome = own_searches.run("gp", toy, Knowledge(neighbour=True), budget=12, seed=0)
    assert len(outcome.regrets) >= 12
    its_own, ours = told
    assert its_own == []
    assert [neighbour.sizes for neighbour in ours] == [small.sizes]
    assert all(config in small.configs for config in ours[0].configs)


def test_a_search_is_told_of_no_neighbour_unless_asked_for(toy: Recording, told: list[list[Neighbour]]) -> None:
    own_searches.run("random", toy, Knowledge(), budget=3, seed=0)
    assert told == [[]]


def test_a_stop_rule_is_noted_and_the_search_carried_on(toy: Recording) -> None:
    outcome = own_searches.run("gp", toy, Knowledge(), budget=60, seed=0)
    assert outcome.stopped_after is not None
    assert outcome.stopped_after < 60 <= len(outcome.regrets)
