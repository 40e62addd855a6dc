"""Describes what a plan keeps on each of its studies."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.contract import Call


@dataclass(frozen=True)
class Membership:
    """A study's place in a plan.

    Attributes:
        position: Its place in the plan's order.
        weight: What a microsecond less of each launch is worth: share of the traffic times layers.
        required: Every lookup of the plan at the study's batch size, and at those that no study of the plan is nearer
            to: an export answers all of them.
        raced: It is no search: it races what the sizes beside it run, and the default.
        layers: The layers that look the study's problem up.
        launches: How many times a forward pass looks it up; 0 where an older release has not stored it.
        share: Share of the traffic that looks its size up.
        untuned: What the plan leaves untuned and why, one line each; only its first study keeps it.
    """

    position: int
    weight: float
    required: tuple[Call, ...]
    raced: bool = False
    layers: tuple[str, ...] = ()
    launches: int = 0
    share: float = 1.0
    untuned: tuple[str, ...] = ()
