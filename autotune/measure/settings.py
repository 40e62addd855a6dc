"""Says how a study measures. It is part of a study's identity: times taken in different ways are not compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MeasureSettings:
    """How configs are timed, and how long compiling and timing one may take.

    Attributes:
        replays: Timed replays of the CUDA graph per config; the median is its time.
        rotation_bytes: The graph walks over argument sets that together exceed this (and 2.5 times the L2 cache), so
            that weights come from device memory, as in a server with many layers.
        max_sets: No more argument sets than this, however small they are.
        graph_us: A graph repeats the walk until one replay takes this long, so that its launch does not count.
        race_rounds: Interleaved replays of each finalist.
        compile_timeout_s: Compiling one config longer than this is a failure (``timeout``). In the 24 recorded spaces
            no config within 10% of the best took longer than 1.3 s, while others took up to 71 s.
        measure_timeout_s: Checking and timing one config longer than this is a failure (``timeout``).
        seed: Seed of the random inputs.
    """

    replays: int = 7
    rotation_bytes: int = 150_000_000
    max_sets: int = 256
    graph_us: float = 500.0
    race_rounds: int = 40
    compile_timeout_s: float = 8.0
    measure_timeout_s: float = 30.0
    seed: int = 0
